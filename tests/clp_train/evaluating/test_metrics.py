"""EVALUATE by hand."""

import numpy as np
import pytest
import torch
from sklearn.metrics import precision_score

from clp_train.algorithm.losses import DivergedError
from clp_train.evaluating.metrics import mean_precision, measure, predict
from clp_train.models.parts import Output


def test_metrics_by_hand():
    label = torch.tensor([0, 0, 0, 0, 1, 1, 1])
    group = torch.tensor([0, 0, 0, 1, 3, 3, 3])  # group 2 is empty here
    predicted = torch.tensor([0, 0, 1, 0, 1, 0, 0])
    found = measure(predicted, label, group, 2, train_counts=[60, 10, 500, 30])
    assert found.average == pytest.approx(4 / 7)
    assert found.per_class == pytest.approx((3 / 4, 1 / 3))
    assert found.class_counts == (4, 3)
    assert found.per_group[2] is None
    assert [found.per_group[g] for g in (0, 1, 3)] == pytest.approx([2 / 3, 1, 1 / 3])
    assert found.group_counts == (3, 1, 0, 3)
    assert found.worst == pytest.approx(1 / 3)
    assert found.weighted_average == pytest.approx((60 * 2 / 3 + 10 * 1 + 30 / 3) / 100)


def of_groups(sizes, rights):
    """Return predictions, labels and groups of so many pictures a group, so many of them right; two groups a class."""
    group = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    label = group // 2
    wrong = torch.cat([torch.arange(n) >= k for n, k in zip(sizes, rights, strict=True)])
    return label ^ wrong, label, group


TRAIN, TEST = (3498, 184, 56, 1057), (2255, 2255, 642, 642)


def test_the_two_averages_of_waterbirds_are_ten_points_apart():
    """Weighted as published ones are, beside the same written out: a model that follows the background shines."""
    shares = (0.992, 0.776, 0.637, 0.942)
    rights = [round(n * share) for n, share in zip(TEST, shares, strict=True)]
    found = measure(*of_groups(TEST, rights), 2, list(TRAIN))
    exact = [k / n for k, n in zip(rights, TEST, strict=True)]
    assert found.per_group == pytest.approx(exact)
    assert found.average == pytest.approx(sum(rights) / 5794)
    assert found.weighted_average == pytest.approx(sum(n * a for n, a in zip(TRAIN, exact, strict=True)) / 4795)
    assert (found.average, found.weighted_average) == pytest.approx((0.863, 0.969), abs=5e-4)
    assert found.worst == min(exact)


@pytest.mark.parametrize("seed", range(10))
def test_the_averages_of_random_predictions(seed):
    rng = np.random.default_rng(seed)
    sizes, train = rng.integers(1, 30, 4).tolist(), rng.integers(0, 50, 4).tolist()
    predicted, label, group = of_groups(sizes, [int(rng.integers(n + 1)) for n in sizes])
    found = measure(predicted, label, group, 2, train)
    accuracy = [sum(int(p == y) for p, y, k in zip(predicted, label, group, strict=True) if k == g) / sizes[g]
                for g in range(4)]  # fmt: skip
    assert found.worst == pytest.approx(min(accuracy))
    assert found.average == pytest.approx(sum(a * n for a, n in zip(accuracy, sizes, strict=True)) / sum(sizes))
    assert found.weighted_average == pytest.approx(np.average(accuracy, weights=train))


def test_groups_unseen_in_training_weigh_the_same():
    found = measure(torch.tensor([0, 1, 1]), torch.tensor([0, 1, 0]), torch.tensor([0, 1, 1]), 2, [0, 0, 9])
    assert found.weighted_average == pytest.approx((1 + 1 / 2) / 2)


def test_an_absent_class_has_no_accuracy():
    found = measure(torch.tensor([1]), torch.tensor([1]), torch.tensor([1]), 3, [1, 1, 1])
    assert found.per_class == (None, 1.0, None)
    assert found.worst == 1.0


@pytest.mark.parametrize("seed", range(30))
def test_mean_precision_is_scikit_learns_macro_precision(seed):
    rng = np.random.default_rng(seed)
    classes, n = int(rng.integers(1, 9)), int(rng.integers(1, 40))
    label, predicted = rng.integers(0, classes, n), rng.integers(0, classes, n)
    if seed % 3 == 0:
        predicted[:] = predicted[0]  # all classes but one are never predicted
    present = np.unique(label)
    found = mean_precision(torch.from_numpy(predicted), torch.from_numpy(label), classes)
    assert found == pytest.approx(precision_score(label, predicted, labels=present, average="macro", zero_division=0))
    # the benchmark's own form: each right picture counts one over how often its class was predicted
    right = [1 / (predicted == y).sum() for y, p in zip(label, predicted, strict=True) if y == p]
    assert found == pytest.approx(sum(right) / len(present))
    if len(present) == classes:
        assert found == pytest.approx(precision_score(label, predicted, average="macro", zero_division=0))


def test_precision_by_hand_and_strata():
    label, predicted = torch.tensor([0, 0, 0, 1, 1, 2]), torch.tensor([0, 0, 1, 1, 0, 0])
    parts = {"head": torch.tensor([True, True, False, False, False, False]), "nobody": torch.zeros(6).bool()}
    found = measure(predicted, label, label, 4, [1, 1, 1, 1], parts)
    assert found.precision == pytest.approx((2 / 4 + 1 / 2 + 0) / 3)  # class 3 has no picture and does not count
    assert found.strata == {"head": 1.0, "nobody": None}
    assert measure(predicted, label, label, 4, [1, 1, 1, 1]).strata == {}


def test_a_network_that_diverged_is_not_judged():
    """argmax of NaN is class 0, which would pass for an answer."""
    images = torch.zeros(5, 3, 2, 2, dtype=torch.uint8)
    network = torch.nn.Flatten()
    network.register_forward_hook(lambda module, inputs, out: Output(out, out))
    network.head = torch.nn.Linear(12, 12)
    assert predict(network, images, lambda out: out.logits + torch.eye(5, 12)).tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(
        DivergedError, match=r"^the network's logits are nan; lower the learning rate \(lr\) in a new run$"
    ):
        predict(network, images, lambda out: out.logits / 0)
