"""ISDA, MetaSAug and RISDA, step by step, against loops over pictures and the textbook's double backward."""

import copy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from clp_aug.contract.errors import UsageError
from clp_train import data
from clp_train.characteristics import View
from clp_train.class_weights import effective_weights
from clp_train.config import TrainConfig
from clp_train.methods import build_method
from clp_train.methods.base import TrainTable
from clp_train.methods.metasaug import MetaSaug
from clp_train.methods.metasaug import Options as MetaOptions
from clp_train.methods.risda import largest
from clp_train.models.parts import Output
from clp_train.objective import Terms, sample_losses
from clp_train.optimiser import build_optimiser
from clp_train.step import train_step
from tests.clp_train import test_checkpoint
from tests.clp_train.methods.longtail_cases import assert_refused, assert_refuses_empty_classes
from tests.clp_train.test_own_method import LABELS, setup

ORACLES = ("isda", "metasaug", "risda")


def config_of(name, options=None, **change):
    return TrainConfig(**{"meta": Path("x.h5"), "method": name, "options": options or {}, **change})


def method_of(name, label=LABELS, classes=3, network=None, **options):
    table = TrainTable(label, label, classes, classes)
    method = build_method(config_of(name, options), table, torch.Generator().manual_seed(0))
    if network is not None:
        method.enter(0, network)
    return method


def small(seed, classes=3, width=4, dtype=torch.float64):
    """Return what a method sees of a network: its last layer."""
    g = torch.Generator().manual_seed(seed)
    head = nn.Linear(width, classes).to(dtype)
    with torch.no_grad():
        head.weight.copy_(torch.randn(classes, width, generator=g))
    return SimpleNamespace(head=head)


def view_of(seed, network, n, progress, classes=3, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    features = torch.randn(n, network.head.in_features, generator=g, dtype=dtype)
    label = torch.randint(classes - 1, (n,), generator=g)  # never the last one
    with torch.no_grad():
        return View(
            network.head(features), features, network.head.weight.detach(), label, label, torch.arange(n), progress
        )


def delta_by_hand(weight, features, label, batch_label, strength, mixing=None):
    """strength / 2 (w_j - w_y)^T Sigma_y (w_j - w_y) from all features seen so far, picture by picture."""
    width = weight.shape[1]
    sigma = np.zeros((len(weight), width, width))
    for c in range(len(weight)):
        own = features[label == c].numpy()
        if len(own):
            sigma[c] = np.atleast_2d(np.cov(own.T, bias=True))
    if mixing is not None:
        sigma = np.einsum("ck,kab->cab", mixing, sigma)
    w = weight.detach().numpy()
    return [[strength / 2 * (w[j] - w[y]) @ sigma[y] @ (w[j] - w[y]) for j in range(len(w))] for y in batch_label]


@pytest.mark.parametrize("form", ["full", "diag"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_isda_over_batches(form, dtype):
    network = small(0, dtype=dtype)
    method = method_of("isda", network=network, covariance=form, strength=0.8)
    features, label = torch.zeros(0, 4), torch.zeros(0, dtype=int)
    for seed, (n, progress) in enumerate([(5, 0.0), (1, 0.25), (7, 0.5), (2, 0.75)]):
        view = view_of(seed, network, n, progress, dtype=dtype)
        features, label = torch.cat([features, view.features.double()]), torch.cat([label, view.label])
        method.observe(view)
        terms = method.terms(view)
        assert terms.weight is None
        if form == "full":
            expected = delta_by_hand(network.head.weight.double(), features, label, view.label, 0.8 * progress)
        else:
            w = network.head.weight.detach().double()
            spread = torch.stack(
                [features[label == c].var(0, correction=0) if (label == c).any() else torch.zeros(4) for c in range(3)]
            )
            expected = [[0.4 * progress * ((w[j] - w[y]) ** 2 * spread[y]).sum() for j in range(3)] for y in view.label]
        close = {"rtol": 1e-4, "atol": 1e-5} if dtype == torch.float32 else {}
        torch.testing.assert_close(terms.delta.detach().double(), torch.tensor(expected, dtype=torch.float64), **close)


@pytest.mark.parametrize(("strength", "progress"), [(0.5, 0.0), (0.0, 0.9)])
def test_isda_without_strength_is_cross_entropy(strength, progress):
    """At the start of a run, and with lambda_0 = 0 at any time."""
    network = small(0)
    method, view = method_of("isda", network=network, strength=strength), view_of(0, network, 6, progress)
    method.observe(view)
    assert not method.terms(view).delta.any()


def plain_step(network, batch, delta, weight, config):
    """SGD on the weighted mean of cross entropies, delta(network's head) followed by the gradient."""
    optimiser = build_optimiser(network, config)
    out = network(batch.images)
    losses = F.cross_entropy(
        out.logits + delta(network.head.weight, out.features.detach()), batch.label, reduction="none"
    )
    ((weight * losses).sum() / weight.sum()).backward()
    optimiser.step()


def isda_by_hand(weight, sigma, label, strength):
    return torch.stack([
        torch.stack([strength / 2 * (w - weight[y]) @ sigma[y] @ (w - weight[y]) for w in weight]) for y in label
    ])  # fmt: skip


def covariances(features, label):
    return torch.stack([features[label == c].T.cov(correction=0) for c in range(3)])


def assert_same_weights(a, b):
    for x, y in zip(a.parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(x, y)


def test_a_step_of_isda_follows_the_heads_weights_within_delta():
    network, batch = setup()
    batch = replace(batch, row=torch.arange(12))
    other, config = copy.deepcopy(network), config_of("isda")
    method = method_of("isda", network=network, strength=2.0)
    train_step(network, method, build_optimiser(network, config), batch, None, config, 0, progress=0.5)

    def delta(weight, features):
        return isda_by_hand(weight, covariances(features, batch.label), batch.label, 1.0)

    still = copy.deepcopy(other)
    plain_step(other, batch, delta, torch.ones(12), config)
    assert_same_weights(network, other)
    plain_step(still, batch, lambda weight, features: delta(weight.detach(), features), torch.ones(12), config)
    assert (still.head.weight - network.head.weight).abs().max() > 1e-6  # it matters that delta is followed


def test_isda_goes_on_from_its_state():
    network = small(0)
    method, other = (method_of("isda", network=network) for _ in range(2))
    for seed in range(3):
        method.observe(view_of(seed, network, 6, 0.5))
    state = {name: value.clone() for name, value in method.state_dict().items()}
    other.load_state_dict(state)
    other.enter(0, network)
    view = view_of(5, network, 6, 0.7)
    for one in (method, other):
        one.observe(view)
    assert torch.equal(method.terms(view).delta, other.terms(view).delta)
    assert state["moments.count"].sum() == 18  # what was loaded is not changed in place
    for name in state:
        with pytest.raises(KeyError):
            other.load_state_dict({key: value for key, value in state.items() if key != name})


@pytest.mark.parametrize("mode", ["reference", "forward", "central"])
def test_a_step_of_metasaug_by_finite_differences(mode):
    """Sigma~ is Sigma less its rate times the gradient of the meta loss behind a virtual step; then ISDA's step."""
    network, batch = setup()
    batch, (_, meta), label = replace(batch, row=torch.arange(12)), setup(5), torch.arange(30) % 4 % 3
    config = config_of("metasaug", hypergradient=mode)
    method = method_of("metasaug", label, network=network, strength=0.8, rate=0.2, beta=0.9)
    earlier = view_of(1, network, 20, 0.85)
    method.observe(earlier)
    sigma, start = method.moments.covariance.clone(), copy.deepcopy(network)
    weight = effective_weights(torch.tensor([15.0, 8.0, 7.0]), 0.9)[batch.label].double()

    def virtual_loss(values):
        stepped = copy.deepcopy(start)
        out = stepped(batch.images)
        delta = isda_by_hand(stepped.head.weight, values, batch.label, 0.8 * 0.9)
        losses = F.cross_entropy(out.logits + delta, batch.label, reduction="none")
        ((weight * losses).sum() / weight.sum()).backward()
        with torch.no_grad():
            for w in stepped.parameters():
                w -= config.lr * w.grad
        return F.cross_entropy(stepped(meta.images).logits, meta.label).item()

    found = train_step(network, method, build_optimiser(network, config), batch, meta, config, 0, progress=0.9)
    assert found.meta == pytest.approx(virtual_loss(sigma))
    gradient, generator = (sigma - method.learned[0]) / 0.2, torch.Generator().manual_seed(2)
    for _ in range(3):
        direction = torch.randn(sigma.shape, generator=generator, dtype=torch.float64)
        ends = [virtual_loss(sigma + sign * 1e-4 * (direction + direction.mT)) for sign in (1, -1)]
        expected = (ends[0] - ends[1]) / 2e-4
        assert abs(expected) > 1e-3
        tolerance = 1e-2 if mode == "central" else 1e-4
        assert (gradient * (direction + direction.mT)).sum().item() == pytest.approx(expected, rel=tolerance)

    corrected = method.learned[0].detach()
    other = copy.deepcopy(start)
    plain_step(other, batch, lambda w, _: isda_by_hand(w, corrected, batch.label, 0.8 * 0.9), weight, config)
    assert_same_weights(network, other)
    features = torch.cat([earlier.features, start(batch.images).features.detach()])
    own = torch.cat([earlier.label, batch.label])
    torch.testing.assert_close(method.moments.covariance, covariances(features, own))  # the correction is gone


class Pulled(MetaSaug):
    """With a penalty beside it."""

    def penalty(self, out, batch, network):
        return 0.3 * out.features.square().mean()


@pytest.mark.parametrize("mode", ["reference", "forward", "central"])
def test_the_final_step_follows_the_head_within_delta_beside_a_penalty_too(mode):
    network, batch = setup()
    batch, (_, meta), config = replace(batch, row=torch.arange(12)), setup(5), config_of("metasaug", hypergradient=mode)
    method = Pulled(MetaOptions(strength=0.8, beta=0.0), torch.full((3,), 4.0))
    method.enter(0, network)
    method.observe(view_of(1, network, 20, 0.85))
    other = copy.deepcopy(network)
    train_step(network, method, build_optimiser(network, config), batch, meta, config, 0, progress=0.9)
    corrected, optimiser, out = method.learned[0].detach(), build_optimiser(other, config), other(batch.images)
    delta = isda_by_hand(other.head.weight, corrected, batch.label, 0.8 * 0.9)
    (F.cross_entropy(out.logits + delta, batch.label) + 0.3 * out.features.square().mean()).backward()
    optimiser.step()
    assert_same_weights(network, other)


def test_metasaug_is_cross_entropy_until_it_starts():
    network = small(0)
    method, view = method_of("metasaug", network=network), view_of(0, network, 6, 0.79)
    method.observe(view)
    assert method.terms(view) == Terms()
    assert not method.moments.count.any()
    assert [method.learns(progress) for progress in (0.0, 0.79, 0.8, 0.99)] == [False, False, True, True]
    view = view._replace(progress=0.8)
    method.observe(view)
    assert method.moments.count.sum() == 6
    terms = method.terms(view)
    assert not terms.delta.any()  # no feature came before this batch
    assert terms.normaliser == "sum_w"


def test_metasaug_takes_the_heads_weights_of_a_meta_view():
    network = small(0)
    method = method_of("metasaug", network=network)
    for seed in range(2):
        method.observe(view_of(seed, network, 9, 0.9))
    head = torch.randn(3, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    view = view_of(4, network, 5, 0.0)._replace(head=head, row=None)
    delta = method.terms(view).delta
    torch.testing.assert_close(delta, isda_by_hand(head, method.learned[0], view.label, 0.5 * 0.9))


def test_metasaug_refuses():
    assert_refuses_empty_classes("metasaug")
    assert_refused("metasaug", "--set rate=-0.1: expected a number >= 0", rate=-0.1)
    assert_refused("metasaug", "--set start=1.5: expected a number from 0 to 1", start=1.5)
    assert_refused("metasaug", "--set beta=1.0: expected a number >= 0 and < 1", beta=1.0)
    table = TrainTable(LABELS, LABELS, 3, 3)
    with pytest.raises(UsageError) as error:
        build_method(config_of("metasaug", meta_step="lagged"), table, torch.Generator())
    assert str(error.value) == (
        "--set meta_step=lagged: method metasaug corrects the covariances of the step itself; take --set"
        " meta_step=exact"
    )


def risda_knowledge(logits, features, label):
    """Return K and D, counted and summed picture by picture."""
    classes = logits.shape[1]
    taken, means = np.zeros((classes, classes)), np.zeros((classes, features.shape[1]))
    for z, f, y in zip(logits.numpy(), features.numpy(), label.tolist(), strict=True):
        n = (label == y).sum().item()
        taken[y, z.argmax()] += 1 / n
        means[y] += f / n
    shift = [sum(taken[c, k] * means[k] for k in range(classes)) - means[c] for c in range(classes)]
    return taken, np.stack(shift)


@pytest.mark.parametrize("head", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_risda_picture_by_picture(seed, head):
    g, classes, network = torch.Generator().manual_seed(seed), 4, small(seed, classes=4)
    counts = [7, 1, 12, 3]
    label = torch.repeat_interleave(torch.arange(4), torch.tensor(counts))[torch.randperm(23, generator=g)]
    method = method_of("risda", label, 4, network, start=0.5, strength=0.6, shift=0.4, head=head, beta=0.99)
    scored = Output(*(torch.randn(23, width, generator=g, dtype=torch.float64) for width in (4, 4)))
    asked = []

    def scores(stream):
        asked.append(stream)
        return scored

    for epoch in range(10):
        method.begin_epoch(epoch, 10, scores)
        assert asked == ["train"] * (epoch >= 5)  # once, when plain cross entropy ends
        if epoch == 4:
            view = view_of(seed, network, 6, 0.4, classes)
            method.observe(view)
            assert method.terms(view) == Terms()
    taken, shift = risda_knowledge(scored.logits, scored.features, label)
    order = [2, 0, 3, 1]  # by pictures
    keeping = order[: max(1, round(head * 4))]
    mixing = np.stack([np.eye(4)[c] if c in keeping else taken[c] for c in range(4)])
    w = network.head.weight.detach().numpy()
    features, seen = torch.zeros(0, 4), torch.zeros(0, dtype=int)
    for batch, n in enumerate((9, 1, 4)):
        view = view_of(10 * seed + batch, network, n, 0.7, classes)
        features, seen = torch.cat([features, view.features]), torch.cat([seen, view.label])
        method.observe(view)
        terms = method.terms(view)
        expected = torch.tensor(delta_by_hand(network.head.weight, features, seen, view.label, 0.6 * 0.7, mixing))
        for i, y in enumerate(view.label.tolist()):
            for j in range(4):
                expected[i, j] += 0.4 * 0.7 * (w[j] - w[y]) @ shift[y]
        torch.testing.assert_close(terms.delta.detach(), expected)
        weights = effective_weights(torch.tensor(counts), 0.99).double()
        torch.testing.assert_close(terms.weight, weights[view.label])
        assert terms.normaliser == "sum_w"


def test_the_largest_classes_do_not_hang_on_their_order():
    assert largest(torch.tensor([3.0, 50, 1, 50, 7]), 0.4).tolist() == [False, True, False, True, False]
    assert largest(torch.tensor([5.0, 5, 5, 5]), 0.5).tolist() == [True] * 4  # equal classes are treated alike
    assert largest(torch.tensor([4.0, 9, 4, 1]), 0.5).tolist() == [True, True, True, False]
    assert largest(torch.tensor([5.0, 9]), 0.2).tolist() == [False, True]  # one at least


def test_risda_without_confusion_is_balanced_isda():
    """A classifier that is right about every picture gives K = 1 and D = 0."""
    network = small(0)
    risda, plain = (method_of(name, network=network, strength=0.5) for name in ("risda", "isda"))
    right = Output(torch.randn(12, 4, dtype=torch.float64), F.one_hot(LABELS, 3).double())
    risda.begin_epoch(8, 10, lambda _: right)
    for seed in range(3):
        view = view_of(seed, network, 6, 0.9)
        for method in (risda, plain):
            method.observe(view)
        torch.testing.assert_close(risda.terms(view).delta, plain.terms(view).delta)


def test_risda_refuses():
    assert_refuses_empty_classes("risda")
    assert_refused("risda", "--set shift=-0.5: expected a number >= 0", shift=-0.5)
    assert_refused("risda", "--set head=1.2: expected a number from 0 to 1", head=1.2)
    assert_refused("risda", "--set start=-1.0: expected a number from 0 to 1", start=-1.0)
    assert_refused("risda", "--set beta=1.0: expected a number >= 0 and < 1", beta=1.0)


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize("seed", range(4))
def test_names_of_classes_do_not_matter(seed, name):
    """Twelve classes, some or all of one size; class c is called order[c] instead."""
    g, classes = torch.Generator().manual_seed(seed), 12
    counts = torch.randint(1, 5, (classes,), generator=g) if seed else torch.full((classes,), 2)
    label, order = torch.repeat_interleave(torch.arange(classes), counts), torch.randperm(classes, generator=g)
    first, second = small(seed, classes), small(seed, classes)
    second.head.weight.data = first.head.weight.data[order.argsort()]
    scored = Output(*(torch.randn(len(label), k, generator=g, dtype=torch.float64) for k in (4, classes)))
    renamed = scored._replace(logits=scored.logits[:, order.argsort()])
    start = {} if name == "isda" else {"start": 0.0}
    methods = [method_of(name, y, classes, own, **start) for y, own in ((label, first), (order[label], second))]
    for method, seen in zip(methods, (scored, renamed), strict=True):
        method.begin_epoch(0, 10, lambda _, seen=seen: seen)
    for batch in range(3):
        view = view_of(seed + batch, first, 40, 0.9, classes)
        other = view._replace(logits=view.logits[:, order.argsort()], label=order[view.label])
        values = []
        for method, part in zip(methods, (view, other), strict=True):
            method.observe(part)
            values.append(sample_losses(part.logits, part.label, method.terms(part)))
        torch.testing.assert_close(*values)
    assert method.terms(part).delta.abs().max() > 1e-3


@pytest.mark.parametrize("name", ["metasaug", "risda"])
def test_killed_within_its_second_part(demo_shard, tmp_path, name):
    loaded, change = data.load(config_of("erm", meta=demo_shard)), {"method": name, "options": {"start": 0.3}}
    whole = test_checkpoint.train(test_checkpoint.config_for(demo_shard, tmp_path / "whole", **change), loaded)
    config = test_checkpoint.config_for(demo_shard, tmp_path / "killed", **change)
    with pytest.raises(test_checkpoint.Killed):
        test_checkpoint.train(config, loaded, 7)
    test_checkpoint.assert_same(test_checkpoint.train(config, loaded, resume=True), whole)


@pytest.mark.parametrize("name", ["isda", "metasaug", "risda"])
def test_their_settings(name):
    assert_refused(name, "--set strength=-1.0: expected a number >= 0", strength=-1.0)
    assert_refused(name, "--set strength=nan: expected a number >= 0", strength=float("nan"))
    assert_refused(name, "unknown covariance 'half': choose one of diag, full", covariance="half")
