"""CSA: contexts by the closed form of Grad-CAM, the bank, blends pixel by pixel, and a whole step."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from clp_aug.contract.errors import UsageError
from clp_train.algorithm.characteristics import View
from clp_train.algorithm.objective import Terms
from clp_train.methods import csa as module
from clp_train.methods.csa import Csa, context_masks
from clp_train.methods.parts.contexts import Bank
from clp_train.models.heads import make_head
from clp_train.models.parts import Output
from clp_train.pictures.types import Batch
from tests.clp_train.builders import (
    batch_of,
    config_of,
    generator,
    load,
    method_of,
    network_of,
    optimiser_of,
    step,
    table_of,
    train,
)
from tests.clp_train.methods.moments_cases import TWELVE
from tests.clp_train.methods.shared_cases import assert_refused
from tests.clp_train.resuming import Killed, assert_same, killable, short

ORACLES = ("csa",)


def csa(label=TWELVE, classes=3, **options):
    return method_of("csa", table_of(label, classes=classes), options, batch_size=12)


def dual(seed=0):
    """Return a network with two heads in float64, and a batch."""
    network, batch = network_of(), batch_of(n=12)
    network.head = make_head("dual", 64, 3, generator(seed)).double()
    return network, batch


def filled(method, k, seed=0, size=8):
    g = generator(seed)
    images, masks = (torch.rand(k, n, size, size, generator=g, dtype=torch.float64) for n in (3, 1))
    method.bank = Bank(images, masks)
    return method


def empty_view(progress, n=12):
    return View(*(torch.zeros(n, 3),) * 3, TWELVE[:n], TWELVE[:n], torch.arange(n), progress)


def other_batch(seed, n):
    g = generator(seed)
    images, label = torch.rand(n, 3, 8, 8, generator=g, dtype=torch.float64), torch.arange(n) % 3
    return Batch(images, torch.zeros(n, 8, 8, dtype=torch.bool), label, label, label.byte(), label)


def test_contexts_are_what_grad_cam_leaves_out():
    """Behind the mean over pixels the gradient of a logit is the head's weight over their number, everywhere."""
    network, batch = dual()
    with torch.no_grad():
        network.head.weight *= 20
    method = csa(confidence=0.3, start=0.2)
    method.observe(empty_view(0.2))
    logits = network(batch.images).logits.detach()
    assert method.penalty(Output(None, logits), batch, network) is None
    maps = []
    network.eval()
    network.groups.register_forward_hook(lambda _m, _i, out: maps.append(out))
    with torch.no_grad():
        for image in batch.images:
            network(image[None])
    kept = 0
    for i, y in enumerate(TWELVE.tolist()):
        evidence = torch.zeros(2, 2, dtype=torch.float64)
        for k in range(64):
            evidence += network.head.weight[y, k].detach() / 4 * maps[i][0, k]
        cam = F.interpolate(evidence.clamp(min=0)[None, None], (8, 8), mode="bilinear")[0, 0]
        if logits[i].softmax(0)[y] >= 0.3 and cam.max() > cam.min():
            mask = (1 - (cam - cam.min()) / (cam.max() - cam.min())) ** 2
            torch.testing.assert_close(method.bank.masks[kept, 0], mask)
            assert torch.equal(method.bank.images[kept], batch.images[i])
            kept += 1
    assert 2 <= kept < 12
    assert len(method.bank.images) == len(method.bank.masks) == kept
    assert not method.bank.images.requires_grad
    assert not method.bank.masks.requires_grad


def test_nothing_is_kept_before_the_start_nor_without_confidence():
    network, batch = dual()
    for options, progress in (({"confidence": 0.0}, 0.04), ({"confidence": 1.0}, 0.5)):
        method = csa(**options)
        method.observe(empty_view(progress))
        assert method.penalty(network(batch.images), batch, network) is None
        assert method.state_dict() == {}


def test_a_flat_map_is_no_context():
    maps = torch.stack([torch.zeros(2, 2), torch.full((2, 2), 3.0), torch.tensor([[1.0, 2.0], [3.0, 5.0]])])
    masks, peaked = context_masks(maps)
    assert peaked.tolist() == [False, False, True]
    assert masks.isfinite().all()
    assert masks[2, 0].flatten().tolist() == [1, 0.5625, 0.25, 0]
    network, batch = dual()
    nn.init.zeros_(network.head.weight)  # no evidence at all
    method = csa(confidence=0.0, start=0.0)
    method.penalty(network(batch.images), batch, network)
    assert method.state_dict() == {}


def test_each_epoch_begins_without_contexts():
    method = filled(csa(), 3)
    method.begin_epoch(1, 10, None)
    assert method.bank is None


@pytest.mark.parametrize("judge", ["first", "mean"])
def test_a_run_that_does_not_look_at_its_bank_learns_the_same(demo_shard, judge, monkeypatch):
    """On a device: the same contexts, with Grad-CAMs of whole batches, which round otherwise."""
    data, config = load(config_of(meta=demo_shard, method="erm")), config_of(
        "csa", demo_shard, {"start": 0.0, "confidence": 0.3, "judge": judge}, model="resnet8", epochs=2, batch_size=11,
        lr=0.02,
    )  # fmt: skip
    looked = train(config, data)
    monkeypatch.setattr(module.divided, "is_known", lambda part: False)
    unseen = train(config, data)
    for name, value in looked.last.state.items():
        torch.testing.assert_close(value, unseen.last.state[name], rtol=1e-4, atol=1e-5)
    monkeypatch.setattr(Csa, "partners", lambda *_: None)
    without = train(config, data)
    assert not torch.allclose(without.last.state["head.second.weight"], unseen.last.state["head.second.weight"])


@pytest.mark.parametrize("held", [None, 1, 4, 5, 9])
def test_partners_come_when_the_bank_holds_a_batch(held):
    method, batch, rng = csa(), other_batch(0, 5), np.random.default_rng(0)
    if held is not None:
        filled(method, held)
    rows = method.partners(batch, rng)
    if held is None or held < 5:
        assert rows is None
        assert method.mixed(batch, rng) is batch
    else:
        assert rows.shape == (5,)
        assert rows.dtype == np.int64


def test_partners_are_even_over_classes():
    label = torch.tensor([4, 1, 1, 1, 1, 1, 1, 0, 0])  # nobody is of classes 2 and 3
    method, batch, rng = filled(csa(label, 5), 5), other_batch(0, 5), np.random.default_rng(0)
    rounds = 4000
    drawn = np.bincount(np.concatenate([method.partners(batch, rng) for _ in range(rounds)]), minlength=9)
    expected = np.array([1] + [1 / 6] * 6 + [1 / 2] * 2) / 3
    error = np.sqrt(expected * (1 - expected) / (5 * rounds))
    assert (np.abs(drawn / (5 * rounds) - expected) < 5 * error).all()


@pytest.mark.parametrize("seed", range(4))
def test_blends_pixel_by_pixel(seed):
    method, batch, second = filled(csa(), 7), other_batch(0, 5), other_batch(1, 5)
    found = method.mixed(replace(batch, second=second), np.random.default_rng(seed))
    rng = np.random.default_rng(seed)
    chosen, a = rng.permutation(7)[:5], rng.uniform()
    assert torch.equal(found.images, batch.images)
    assert torch.equal(found.second.label, second.label)
    for i, k in enumerate(chosen):
        for y in range(8):
            for x in range(8):
                share = a * method.bank.masks[k, 0, y, x]
                expected = share * method.bank.images[k, :, y, x] + (1 - share) * second.images[i, :, y, x]
                torch.testing.assert_close(found.second.images[i, :, y, x], expected)


@pytest.mark.parametrize("blended", [False, True])
def test_a_step_of_two_heads(blended):
    network, batch = dual()
    method, config = csa(confidence=1.0), config_of("csa")
    second = other_batch(3, 9)
    other = copy.deepcopy(network)
    batch = replace(batch, second=second if blended else None)
    step(network, method, optimiser_of(network, config), batch, None, config, progress=0.5)

    optimiser = optimiser_of(other, config)
    loss = F.cross_entropy(other(batch.images).logits, batch.label)
    statistics = {name: value.clone() for name, value in other.named_buffers()}
    if blended:
        features = other(second.images).features
        loss = loss + F.cross_entropy(features @ other.head.second.weight.T + other.head.second.bias, second.label)
    loss.backward()
    for w in other.parameters():
        w.grad = torch.zeros_like(w) if w.grad is None else w.grad  # decay alone
    optimiser.step()
    for a, b in zip(network.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    for name, value in network.named_buffers():
        torch.testing.assert_close(value, statistics[name])  # of the training pictures alone
    assert method.terms(None) == Terms()


@pytest.mark.parametrize("judge", ["first", "second", "mean"])
def test_who_judges(judge):
    head = make_head("dual", 4, 3, generator(0))
    features = torch.randn(5, 4, generator=generator(1))
    one = features @ head.weight.T + head.bias
    two = features @ head.second.weight.T + head.second.bias
    found = csa(judge=judge).predict(Output(features, head(features)), head)
    torch.testing.assert_close(found, {"first": one, "second": two, "mean": (one + two) / 2}[judge])


@pytest.mark.parametrize("kill_at", [2, 3, 4, 6])
def test_killed_with_a_bank(demo_shard, tmp_path, kill_at):
    loaded = load(config_of(meta=demo_shard, method="erm"))

    def config_for(name, **options):
        return short(demo_shard, tmp_path / name, method="csa", options={"start": 0.0, **options}, epochs=2)

    whole = killable(config_for("whole", confidence=0.2), loaded)
    without = killable(config_for("without", confidence=1.0), loaded)
    assert whole.history != without.history  # contexts were blended in
    config = config_for("killed", confidence=0.2)
    with pytest.raises(Killed):
        killable(config, loaded, kill_at)
    assert_same(killable(config, loaded, resume=True), whole)


def test_its_state_is_whole():
    method, other = filled(csa(), 5), csa()
    other.load_state_dict(method.state_dict())
    assert torch.equal(other.bank.images, method.bank.images)
    assert torch.equal(other.bank.masks, method.bank.masks)
    for name in ("images", "masks"):
        with pytest.raises(KeyError):
            other.load_state_dict({name: torch.zeros(1)})


def test_it_refuses():
    assert_refused("csa", "judge = third: expected one of first, second, mean", judge="third")
    for name in ("start", "confidence"):
        assert_refused("csa", f"{name} = -0.1: expected a number from 0 to 1", **{name: -0.1})
    with pytest.raises(UsageError) as error:
        method_of("csa", table_of(TWELVE), trainable="head")
    assert str(error.value) == (
        "trainable = head: method csa changes pictures at every step, but features of a frozen"
        " body are computed once; take trainable = all"
    )
