"""Margins on cosines against their formulas, picture by picture; when weights come in."""

import dataclasses
import math
from fractions import Fraction

import pytest
import torch

from clp_train.algorithm.objective import Terms, objective
from clp_train.methods.margins import DeferredLdam
from tests.clp_train.builders import config_of, generator, load, train
from tests.clp_train.methods import longtail_cases as cases
from tests.clp_train.methods.shared_cases import assert_refused, assert_refuses_empty_classes

ORACLES = ("ldam", "ldam-drw", "ala")


def losses_by_hand(view, scale, margin_of):
    """margin_of: (cosine of the own class, its label) -> margin."""
    losses = []
    for z, y in zip(view.logits.tolist(), view.label.tolist(), strict=True):
        own = math.exp(scale * (z[y] - margin_of(z[y], y)))
        others = math.fsum(math.exp(scale * v) for c, v in enumerate(z) if c != y)
        losses.append(-math.log(own / (own + others)))
    return losses


def cosines(seed, classes, **others):
    return cases.lacking_view(seed, classes, head="cosine", **others)


@pytest.mark.parametrize("name", ["ldam", "ldam-drw"])
@pytest.mark.parametrize("seed", range(8))
def test_ldam_picture_by_picture(seed, name):
    counts = cases.counts_of(seed)
    view = cosines(seed, len(counts), progress=0.79)
    largest = 1 / min(counts) ** 0.25
    own = {"margin": 0.4, "scale": 7.0}
    expected = losses_by_hand(view, 7.0, lambda _, y: 0.4 * (1 / counts[y] ** 0.25) / largest)
    losses, mean = cases.losses_of(cases.of_counts(name, counts, **own), view)
    assert losses.tolist() == pytest.approx(expected, rel=1e-9)
    assert mean.item() == pytest.approx(math.fsum(expected) / len(expected), rel=1e-9)


@pytest.mark.parametrize("seed", range(8))
def test_deferred_weights_are_those_of_effective_numbers(seed):
    counts = cases.counts_of(seed)
    view = cosines(seed, len(counts), progress=0.8)
    weights = cases.weights_by_hand(counts, 0.999)
    plain, _ = cases.losses_of(cases.of_counts("ldam", counts), view)
    losses, mean = cases.losses_of(cases.of_counts("ldam-drw", counts, beta=0.999), view)
    own = [weights[y] for y in view.label.tolist()]
    expected = [w * loss for w, loss in zip(own, plain.tolist(), strict=True)]
    assert losses.tolist() == pytest.approx(expected, rel=1e-6)
    assert mean.item() == pytest.approx(math.fsum(expected) / math.fsum(own), rel=1e-6)  # by the weights, not by n


@pytest.mark.parametrize("epochs", [1, 3, 5, 10, 30, 90, 200, 325, 1000])
@pytest.mark.parametrize("start", ["0", "0.3", "0.7", "0.8", "1"])
def test_weights_come_in_at_their_share_of_the_run_exactly(start, epochs):
    method = cases.of_counts("ldam-drw", [9, 4, 1], start=float(start))
    view = cosines(0, 3)
    for epoch in range(epochs):
        weight = method.terms(view._replace(progress=epoch / epochs)).weight
        assert (weight is not None) == (epoch >= Fraction(start) * epochs)


def test_a_run_of_ten_epochs_weighs_its_last_two(demo_shard, monkeypatch):
    seen = []

    def terms(self, view):
        found = terms_of(self, view)
        seen.append((round(view.progress * 10), found.weight is not None, found.normaliser))
        return found

    terms_of = DeferredLdam.terms
    monkeypatch.setattr(DeferredLdam, "terms", terms)
    config = config_of(meta=demo_shard, method="ldam-drw", epochs=10, batch_size=80)
    trained = train(config, load(config))
    assert seen == [(epoch, epoch >= 8, "sum_w" if epoch >= 8 else "n") for epoch in range(10)]
    assert trained.network.head.bias is None
    images = torch.rand(5, 3, 16, 16, generator=generator(0))
    assert trained.network.eval()(images).logits.abs().max() <= 1  # judged by cosines


@pytest.mark.parametrize("seed", range(5))
def test_without_margin_ldam_is_cross_entropy_of_scaled_cosines(seed):
    counts = cases.counts_of(seed)
    view = cosines(seed, len(counts))
    _, mean = cases.losses_of(cases.of_counts("ldam", counts, margin=0.0, scale=30.0), view)
    assert torch.equal(mean, objective(30 * view.logits, view.label, Terms()))


@pytest.mark.parametrize(("counts", "smallest"), [([5000, 50], 0.158), ([5000, 500], 0.281)])
def test_margins_on_cifar10(counts, smallest):
    margins = cases.of_counts("ldam", counts).margins
    assert margins.max().item() == 0.5
    assert margins.min().item() == pytest.approx(smallest, abs=5e-4)


@pytest.mark.parametrize("base", [2.0, math.e])
@pytest.mark.parametrize("seed", range(8))
def test_ala_picture_by_picture(seed, base):
    counts = cases.counts_of(seed)
    view = cosines(seed, len(counts))
    rare = min(counts)
    expected = losses_by_hand(view, 30.0, lambda cos, y: (1 - cos) / 2 / math.log(counts[y] / rare + 1, base))
    losses, mean = cases.losses_of(cases.of_counts("ala", counts, base=base), view)
    assert losses.tolist() == pytest.approx(expected, rel=1e-9)
    assert mean.item() == pytest.approx(math.fsum(expected) / len(expected), rel=1e-9)


def test_factors_of_ala():
    counts = [5000, 50]
    assert cases.of_counts("ala", counts).rarity.tolist() == pytest.approx([math.log(2) / math.log(101), 1.0])
    natural = cases.of_counts("ala", counts, base=math.e).rarity.tolist()
    assert natural == pytest.approx([0.217, 1.443], abs=5e-4)


@pytest.mark.parametrize("name", ORACLES)
def test_the_slope_is_that_of_cross_entropy_at_the_shifted_cosines(name):
    """Margins are constants: nothing is gained by lowering a cosine."""
    counts = [40, 6, 1]
    view = cosines(4, 3)
    terms = dataclasses.replace(cases.of_counts(name, counts).terms(view), normaliser="n")
    assert not terms.delta.requires_grad
    logits = view.logits.clone().requires_grad_()
    (slope,) = torch.autograd.grad(objective(logits, view.label, terms), logits)
    for i, y in enumerate(view.label.tolist()):
        p = (30 * (view.logits[i] + terms.delta[i])).softmax(0)
        p[y] -= 1
        torch.testing.assert_close(slope[i], 30 * p / len(view.label))
    assert (terms.delta.gather(1, view.label[:, None]) < 0).all()
    assert (terms.delta.scatter(1, view.label[:, None], 0.0) == 0).all()


@pytest.mark.parametrize("progress", [0.0, 0.9])
@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize("seed", range(5))
def test_names_of_classes_do_not_matter(seed, name, progress):
    cases.assert_names_of_classes_do_not_matter(name, seed, "cosine", progress)


def test_single_precision_stays():
    view = cosines(0, 3, dtype=torch.float32)
    for name in ORACLES:
        assert cases.losses_of(cases.of_counts(name, [9, 4, 1]), view)[0].dtype == torch.float32


def test_what_is_refused():
    for name in ORACLES:
        assert_refuses_empty_classes(name)
        for scale in (-1.0, math.nan, math.inf):
            assert_refused(name, f"scale = {scale}: expected a number >= 0", scale=scale)
    assert_refused("ldam", "margin = -0.5: expected a number >= 0", margin=-0.5)
    assert_refused("ldam-drw", "start = 1.5: expected a number from 0 to 1", start=1.5)
    assert_refused("ldam-drw", "beta = 1.0: expected a number >= 0 and < 1", beta=1.0)
    for base in (1.0, math.nan, math.inf):
        assert_refused("ala", f"base = {base}: expected a number > 1", base=base)
