"""Class-balanced cross entropy and focal losses against sums over pictures."""

import math
from dataclasses import replace

import pytest
import torch

from clp_train.algorithm.losses import cross_entropy
from clp_train.algorithm.objective import objective
from clp_train.methods.focal import FORMS, sigmoid_focal, softmax_focal
from clp_train.running.assembly import start_network
from tests.clp_train.builders import config_of, load, train
from tests.clp_train.methods import longtail_cases as cases
from tests.clp_train.methods.shared_cases import assert_refused, assert_refuses_empty_classes

ORACLES = ("cb-ce", "focal", "cb-focal")
INFINITE = float("inf")


def cross_entropy_by_hand(logits, y):
    return math.log(math.fsum(math.exp(v) for v in logits)) - logits[y]


@pytest.mark.parametrize("beta", [0.9, 0.9999])
@pytest.mark.parametrize("seed", range(10))
def test_class_balanced_cross_entropy_picture_by_picture(seed, beta):
    counts = cases.counts_of(seed)
    view, weights = cases.lacking_view(seed, len(counts)), cases.weights_by_hand(counts, beta)
    losses, mean = cases.losses_of(cases.of_counts("cb-ce", counts, beta=beta), view)
    expected = [
        weights[y] * cross_entropy_by_hand(z, y) for z, y in zip(view.logits.tolist(), view.label.tolist(), strict=True)
    ]
    assert losses.tolist() == pytest.approx(expected, rel=1e-6)
    assert mean.item() == pytest.approx(math.fsum(expected) / len(expected), rel=1e-6)  # by n, not by the weights


@pytest.mark.parametrize("seed", range(5))
def test_without_beta_it_is_cross_entropy(seed):
    counts = cases.counts_of(seed)
    view = cases.lacking_view(seed, len(counts))
    balanced, plain = (cases.losses_of(cases.of_counts(name, counts, **own), view)
                       for name, own in (("cb-ce", {"beta": 0.0}), ("erm", {})))  # fmt: skip
    assert torch.equal(balanced[0], plain[0])
    assert torch.equal(balanced[1], plain[1])


def test_the_default_beta_on_cifar10_of_ratio_100():
    counts = [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    view = cases.lacking_view(0, 10)._replace(label=torch.arange(10), logits=torch.zeros(10, 10, dtype=torch.float64))
    method = cases.of_counts("cb-ce", counts)
    found = method.terms(view).weight
    assert found.tolist() == pytest.approx(cases.weights_by_hand(counts, 0.9999), rel=1e-6)
    assert objective(view.logits, view.label, method.terms(view)).item() == pytest.approx(math.log(10), rel=1e-6)


def focal_by_hand(logits, y, gamma, form):
    if form == "softmax":
        p = math.exp(logits[y]) / math.fsum(math.exp(v) for v in logits)
        return -((1 - p) ** gamma) * math.log(p)
    total = 0.0
    for c, v in enumerate(logits):
        q = 1 / (1 + math.exp(-v)) if c == y else 1 - 1 / (1 + math.exp(-v))
        total -= (1 - q) ** gamma * math.log(q)
    return total


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", range(5))
def test_focal_picture_by_picture(seed, form, gamma):
    counts = cases.counts_of(seed)
    view = cases.lacking_view(seed, len(counts))
    pictures = list(zip(view.logits.tolist(), view.label.tolist(), strict=True))
    expected = [focal_by_hand(z, y, gamma, form) for z, y in pictures]
    losses, mean = cases.losses_of(cases.of_counts("focal", counts, gamma=gamma, form=form), view)
    assert losses.tolist() == pytest.approx(expected, rel=1e-9)
    assert mean.item() == pytest.approx(math.fsum(expected) / len(expected), rel=1e-9)
    weights = cases.weights_by_hand(counts, 0.999)
    balanced = cases.of_counts("cb-focal", counts, gamma=gamma, form=form, beta=0.999)
    losses, mean = cases.losses_of(balanced, view)
    expected = [weights[y] * loss for (_, y), loss in zip(pictures, expected, strict=True)]
    assert losses.tolist() == pytest.approx(expected, rel=1e-6)
    assert mean.item() == pytest.approx(math.fsum(expected) / len(expected), rel=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_gamma_0_is_cross_entropy(seed):
    view = cases.lacking_view(seed, 5)
    assert torch.equal(softmax_focal(view.logits, view.label, 0.0), cross_entropy(view.logits, view.label))
    logistic = torch.nn.functional.binary_cross_entropy_with_logits(
        view.logits, torch.nn.functional.one_hot(view.label, 5).double(), reduction="none"
    )
    torch.testing.assert_close(sigmoid_focal(view.logits, view.label, 0.0), logistic.sum(1))


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("form", FORMS.values())
def test_slopes_of_focal(form, gamma):
    view = cases.lacking_view(3, 4)
    logits = view.logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: form(z, view.label, gamma), logits)
    sure = torch.tensor([[300.0, -300.0, -300.0], [-300.0, -300.0, 300.0]], requires_grad=True)  # right, then wrong
    losses = form(sure, torch.tensor([0, 0]), gamma)
    losses.sum().backward()
    assert losses[0] == 0
    assert losses[1].item() == pytest.approx(600.0)
    assert sure.grad.isfinite().all()
    assert (sure.grad[0] == 0).all()


@pytest.mark.parametrize("name", ["focal", "cb-focal"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", range(4))
def test_a_detached_factor_is_a_weight_alone(seed, form, name):
    """Same loss; the slope, by differences of the loss with the factor at hand held as it is."""
    counts = cases.counts_of(seed, 3)
    view = cases.lacking_view(seed, 3, n=4)
    plain, detached = (cases.of_counts(name, counts, form=form, detached=value) for value in (False, True))
    assert torch.equal(cases.losses_of(plain, view)[0], cases.losses_of(detached, view)[0])
    logits = view.logits.clone().requires_grad_()
    (slope,) = torch.autograd.grad(objective(logits, view.label, detached.terms(view)), logits)
    weights = cases.weights_by_hand(counts, 0.9999) if name == "cb-focal" else [1.0] * 3
    gamma = 1.0 if name == "cb-focal" else 2.0

    def frozen(z, at, y):
        if form == "softmax":
            return focal_by_hand(z, y, 0.0, form) * (1 - math.exp(-focal_by_hand(at, y, 0.0, form))) ** gamma
        sides = [(v if c == y else -v, a if c == y else -a) for c, (v, a) in enumerate(zip(z, at, strict=True))]
        return sum(math.log1p(math.exp(-v)) / (1 + math.exp(a)) ** gamma for v, a in sides)

    for i, (z, y) in enumerate(zip(view.logits.tolist(), view.label.tolist(), strict=True)):
        for c in range(3):
            up, down = ([v + e * (k == c) for k, v in enumerate(z)] for e in (1e-5, -1e-5))
            expected = weights[y] * (frozen(up, z, y) - frozen(down, z, y)) / 2e-5 / 4
            assert slope[i, c].item() == pytest.approx(expected, rel=1e-5, abs=1e-9)


def test_the_sigmoid_form_starts_with_rare_classes(demo_shard):
    counts = [5, 4, 3, 2]
    assert cases.of_counts("focal", counts).head == cases.of_counts("cb-focal", counts).head == "linear"
    assert cases.of_counts("cb-focal", counts, form="sigmoid").head == "sigmoid"
    config = config_of(meta=demo_shard, method="focal", epochs=1, batch_size=40, options={"form": "sigmoid"})
    loaded = load(config)
    four = replace(loaded, header=replace(loaded.header, class_names=("a", "b", "c", "d")))
    started = start_network(config, four, cases.of_counts("focal", counts, form="sigmoid"))
    torch.testing.assert_close(started.head.bias.sigmoid(), torch.full((4,), 1 / 4))
    first = train(config, loaded).history[0]
    assert first["train_loss"] > 0


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize("seed", range(5))
def test_names_of_classes_do_not_matter(seed, name):
    cases.assert_names_of_classes_do_not_matter(name, seed)


def test_what_is_refused():
    for name in ("cb-ce", "cb-focal"):
        assert_refuses_empty_classes(name)
        for beta in (1.0, -0.1, math.nan, INFINITE):
            assert_refused(name, f"beta = {beta}: expected a number >= 0 and < 1", beta=beta)
    for name in ("focal", "cb-focal"):
        for gamma in (-1.0, math.nan, INFINITE):
            assert_refused(name, f"gamma = {gamma}: expected a number >= 0", gamma=gamma)
        assert_refused(name, "form = hinge: expected one of softmax, sigmoid", form="hinge")
    assert cases.of_counts("focal", [3, 0]).weights is None
