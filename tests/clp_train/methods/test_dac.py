"""DaC: masks by loops, the elbow by Kneedle as it is written, composed pictures by colours, the objective, resuming."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from clp_aug.contract.errors import UsageError
from clp_aug.contract.seeds import rng_for
from clp_train.algorithm.objective import Terms, objective
from clp_train.config import make_config
from clp_train.methods.dac import draw_partners
from clp_train.methods.parts.attributions import SHARES, adaptive_masks, elbow, laid_out, quantiles, values_of
from clp_train.models.parts import Output
from tests.clp_train.builders import batch_of, config_of, generator, load, method_of, network_of, table_of, train
from tests.clp_train.methods.shared_cases import assert_refused
from tests.clp_train.resuming import Killed, assert_same, killable, short

ORACLES = ("dac",)
LABEL = torch.arange(12) % 3


def dac(label=LABEL, **options):
    """Return the method in its second stage with a random network of three classes; losses of -k for the k-th row."""
    method, network = method_of("dac", table_of(label, classes=3), options), network_of()
    logits = torch.zeros(len(label), 3).scatter(1, label[:, None], torch.arange(len(label)).float()[:, None])
    method.begin_stage(1, lambda stream: Output(None, logits))
    method.enter(1, network)
    return method, network


def evidence_by_loops(network, images):
    """XGrad-CAM of the prediction. Behind the mean over pixels a gradient is the head's weight over their number."""
    maps = []
    handle = network.groups.register_forward_hook(lambda _m, _i, out: maps.append(out.detach()))
    logits = network(images).logits.detach()
    handle.remove()
    heat = []
    for at, row in zip(maps[0], logits, strict=True):
        evidence = torch.zeros_like(at[0])
        for k, channel in enumerate(at):
            slope = network.head.weight[row.argmax(), k].detach() / channel.numel()
            evidence += slope * channel.sum() / (channel.sum() + 1e-7) * channel
        heat.append(F.interpolate(evidence.clamp(min=0)[None, None], images.shape[2:], mode="bilinear")[0, 0])
    return torch.stack(heat)


def kneedle(losses):
    """The last elbow of a convex rising curve, as Satopaa et al. 2011 go through it; the last place if none."""
    n = len(losses)
    if max(losses) == min(losses):
        return n - 1
    scaled = [(loss - min(losses)) / (max(losses) - min(losses)) for loss in losses]
    over = [1 - scaled[n - 1 - i] - i / (n - 1) for i in range(n)]
    found, bound, at = n - 1, None, None
    for i in range(n - 1):
        around = [over[max(i - 1, 0)], over[i + 1]]
        if over[i] >= max(around):
            bound, at = over[i] - 1 / (n - 1), i
        if bound is None:
            continue
        if over[i] <= min(around):
            bound = 0.0
        if over[i + 1] < bound:
            found = n - 1 - at
    return found


@pytest.mark.parametrize("kind", ["rising", "any", "steep", "equal"])
def test_elbows_are_those_of_kneedle(kind):
    rng = np.random.default_rng(0)
    drawn = rng.random((400, 6))
    losses = {
        "rising": np.sort(drawn, 1),
        "any": drawn,
        "steep": np.cumsum(-(np.log(drawn) ** 3), 1),
        "equal": np.repeat(drawn[:, :1], 6, 1),
    }[kind]
    found = elbow(torch.from_numpy(losses)).tolist()
    assert found == [kneedle(row) for row in losses.tolist()]
    assert (set(found) == {5}) == (kind == "equal")


@pytest.mark.parametrize("pixels", [1, 2, 49, 64, 1000])
def test_quantiles_are_those_of_numpy(pixels):
    values = torch.rand(5, pixels, dtype=torch.float64, generator=generator(pixels))
    np.testing.assert_allclose(quantiles(values, SHARES), np.quantile(values.numpy(), SHARES, axis=1).T, rtol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_masks_keep_what_the_loss_asks_for(seed):
    network, batch = network_of(seed=seed).eval(), batch_of(seed, n=8)
    with torch.no_grad():
        network.head.weight *= 20
    images = F.avg_pool2d(batch.images, 3, 1, 1)
    values = values_of(network)
    heat, expected = evidence_by_loops(network, images), []
    for i, map_ in enumerate(heat.numpy()):
        masks = [torch.from_numpy(map_ >= np.quantile(map_, share)) for share in SHARES]
        hidden = [torch.where(mask, images[i], network.normalise.mean[0]) for mask in masks]
        losses = [F.cross_entropy(network(one[None]).logits, batch.label[i : i + 1]).item() for one in hidden]
        expected.append(masks[kneedle(losses)])
    network.train()
    with torch.no_grad():
        network.head.weight.zero_()  # the learner has gone on; its first values count
    found = adaptive_masks(network, values, images, batch.label)
    assert found.dtype == torch.bool
    assert (found != torch.stack(expected)).float().mean() < 0.01  # a pixel at a quantile may round either way
    assert network.training
    assert all(w.grad is None for w in network.parameters())


def test_easy_pictures_are_those_up_to_the_quantile():
    for quantile in (0.0, 0.4, 1.0):
        method, _ = dac(quantile=quantile)
        hardness = -np.arange(12.0)
        logits = np.array([[k if c == y else 0 for c in range(3)] for k, y in enumerate(LABEL.tolist())])
        losses = np.log(np.exp(logits).sum(1)) + hardness
        assert method.chosen.tolist() == (losses <= np.quantile(losses, quantile) + 1e-6).tolist()


@pytest.mark.parametrize("seed", range(8))
def test_composed_pictures_pixel_by_pixel(seed):
    method, _ = dac(parts="boxes", quantile=1.0)
    rng = np.random.default_rng(seed)
    rows = rng.permutation(12)[:7]
    inside = torch.from_numpy(rng.random((7, 8, 8)) < 0.5)
    inside[0] = False  # no box: all of it is the causal part
    batch = replace(batch_of(seed, n=7), inside=inside, row=torch.from_numpy(rows), label=LABEL[rows])
    method.chosen[rows[-2:]] = False
    before, mean = batch.images.clone(), batch.images.mean((0, 2, 3))
    made = method.mixed(batch, rng_for(seed, 0, "mix"))
    partner = draw_partners(LABEL[rows[:5]].numpy(), rng_for(seed, 0, "mix"))
    assert torch.equal(batch.images, before)
    assert torch.equal(made.images[:7], before)
    assert made.row.tolist() == [*rows, *rows[:5], *rows[:5]]
    assert torch.equal(made.label, LABEL[made.row])
    masks = inside.clone()
    masks[0] = True
    for i, j in enumerate(partner.tolist()):
        for y in range(8):
            for x in range(8):
                own, other = masks[i, y, x], masks[j, y, x]
                alone = before[i, :, y, x] if own else mean
                fused = before[i, :, y, x] if own else mean if other else before[j, :, y, x]
                torch.testing.assert_close(made.images[7 + i, :, y, x], alone)
                torch.testing.assert_close(made.images[12 + i, :, y, x], fused)


@pytest.mark.parametrize("alpha", [0.0, 1.0, 10.0])
@pytest.mark.parametrize("easy", [0, 1, 4])
def test_the_objective_is_that_of_the_authors_over_1_plus_2_alpha(alpha, easy):
    method, _ = dac(parts="boxes", alpha=alpha)
    method.chosen = torch.arange(12) < easy
    made = method.mixed(batch_of(n=6, rows=True), rng_for(0, 0, "mix"))
    logits = torch.randn(6 + 2 * easy, 3, dtype=torch.float64, generator=generator(easy))
    found = objective(logits, made.label, method.terms(view_like(logits)))
    parts = [(logits[a:b], made.label[a:b]) for a, b in ((0, 6), (6, 6 + easy), (6 + easy, 6 + 2 * easy))]
    own, alone, fused = (F.cross_entropy(*part) if len(part[0]) else 0.0 for part in parts)
    torch.testing.assert_close(found, (own + alpha * (alone + fused)) / (1 + 2 * alpha))


def view_like(logits):
    return type("View", (), {"logits": logits})


def test_partners_are_evenly_of_other_classes():
    label = np.array([0] * 6 + [1] * 3 + [2])
    counts = np.zeros((10, 10))
    for k in range(3000):
        for i, j in enumerate(draw_partners(label, rng_for(k, 0, "mix"))):
            counts[i, j] += 1
    fits = label[:, None] != label
    assert (counts[~fits] == 0).all()
    expected = fits / fits.sum(1, keepdims=True)
    error = np.sqrt(expected * (1 - expected) / 3000)
    assert (np.abs(counts / 3000 - expected) <= 5 * error).all()
    alone = draw_partners(np.zeros(5, int), rng_for(0, 0, "mix"))
    assert sorted(alone) == list(range(5))


def test_inverted_masks_are_the_other_part():
    batch = batch_of(n=6, rows=True)
    (one, network), (other, _) = dac(), dac(invert=True)
    assert torch.equal(one.masks(batch), ~other.masks(batch))
    assert torch.equal(one.masks(batch), adaptive_masks(network, one.values, batch.images, batch.label))


@pytest.mark.parametrize("retrained", ["head", "all"])
def test_what_learns_in_the_second_stage(retrained):
    method, network = dac(retrained=retrained)
    learns = {name for name, w in network.named_parameters() if w.requires_grad}
    heads = {"head.weight", "head.bias"}
    assert learns == (heads if retrained == "head" else set(dict(network.named_parameters())))
    start = network_of()
    for name, w in start.named_parameters():
        same = torch.equal(w, dict(network.named_parameters())[name])
        assert same == (retrained == "all" or name not in heads)
        assert torch.equal(method.values[name], w)
    assert torch.equal(laid_out(method.values, network)["head.weight"], start.head.weight)
    assert dac(retrained=retrained, parts="boxes")[0].values == {}


def test_the_first_stage_is_cross_entropy():
    method, batch = method_of("dac", table_of(LABEL)), batch_of(n=6, rows=True)
    method.enter(0, network_of())
    method.begin_stage(0, None)
    assert method.mixed(batch, rng_for(0, 0, "mix")) is batch
    assert method.terms(None) == Terms()
    assert method.state_dict() == {}
    assert math.isclose(method.stages[0].share, 100 / 120)
    assert method.stages[1].trainable == "all"  # pictures, not features


@pytest.mark.parametrize(
    ("options", "kills"),
    [({}, (5, 6)), ({"parts": "boxes"}, (7,)), ({"retrained": "all"}, (10,))],
    ids=["default", "boxes", "all"],
)
def test_a_run_resumes_bit_by_bit(demo_shard, tmp_path, options, kills):
    """Four steps an epoch, one epoch in the first stage; a killed run goes on from the step before."""
    loaded = load(config_of(meta=demo_shard, method="erm"))

    def config_for(name):
        return short(demo_shard, tmp_path / name, method="dac", options={"first": 0.34, **options}, model="resnet8")

    whole = killable(config_for("whole"), loaded)
    for kill_at in kills:
        config = config_for(f"killed{kill_at}")
        with pytest.raises(Killed):
            killable(config, loaded, kill_at)
        assert_same(killable(config, loaded, resume=True), whole)


def test_a_body_that_does_not_learn_stays(demo_shard):
    config = config_of("dac", demo_shard, {"first": 0.5}, model="resnet8", epochs=2, batch_size=40)
    data = load(config)
    run = train(config, data)
    first = train(config_of("erm", demo_shard, model="resnet8", epochs=1, batch_size=40), data).last.state
    for name, value in run.last.state.items():
        learnt = "running" in name or "num_batches" in name or name.startswith("head.")
        assert learnt or torch.equal(value, first[name]), name


def test_it_refuses():
    assert_refused("dac", "parts = mattes: expected one of attributions, boxes", parts="mattes")
    assert_refused("dac", "quantile = 1.5: expected a number from 0 to 1", quantile=1.5)
    assert_refused("dac", "alpha = -1.0: expected a number >= 0", alpha=-1.0)
    with pytest.raises(UsageError) as error:
        make_config({"meta": Path("x.h5"), "method": "dac", "parts": "boxes", "invert": True})
    assert str(error.value) == "invert = True: has no effect where parts is boxes; take parts = attributions"
    with pytest.raises(UsageError) as error:
        method_of("dac", table_of(LABEL), trainable="head")
    assert str(error.value) == (
        "trainable = head: method dac changes pictures at every step, but features of a frozen body are computed once;"
        " take trainable = all"
    )
