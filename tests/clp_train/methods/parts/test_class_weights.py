"""Weights of classes, and what a method asks of the training pictures at the door."""

import pytest
import torch

from clp_aug.contract.errors import UsageError
from clp_train.methods.parts.class_weights import effective_weights
from tests.clp_train.builders import table_of


def test_effective_weights_by_hand():
    weights = effective_weights(torch.tensor([1.0, 2.0]), 0.5)
    torch.testing.assert_close(weights, torch.tensor([6 / 5, 4 / 5]))  # 1 : 2/3, scaled to a sum of 2


def test_no_beta_is_no_weight_and_large_beta_is_one_over_n():
    counts = torch.tensor([5000.0, 50.0, 1.0])
    assert effective_weights(counts, 0).tolist() == [1, 1, 1]
    inverse = 1 / counts
    torch.testing.assert_close(effective_weights(counts, 1 - 1e-9), inverse * 3 / inverse.sum(), rtol=1e-4, atol=0)


def test_range_on_cifar10_of_ratio_100():
    counts = torch.tensor([5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50.0])
    weights = effective_weights(counts, 0.9999)
    assert weights.min().item() == pytest.approx(0.051, abs=5e-4)
    assert weights.max().item() == pytest.approx(3.99, abs=5e-3)


def test_a_class_without_pictures_is_named():
    table_of([0, 1, 2]).require_all_classes("ldam")
    with pytest.raises(
        UsageError, match="method = ldam: no training picture of class fox; expected at least one of each"
    ):
        table_of([0, 2, 2], names=("cat", "fox", "owl")).require_all_classes("ldam")
    with pytest.raises(UsageError, match="of class 1, 2; expected"):
        table_of([0, 0], classes=3).require_all_classes("ldam")


def test_counts_lie_in_the_order_of_labels():
    """Published code sorts labels as text, 0, 1, 10, 11, 2, ..., and so gives priors to the wrong classes."""
    label = torch.repeat_interleave(torch.arange(13), torch.arange(13, 0, -1))[torch.randperm(91)]
    assert table_of(label, classes=14).class_counts().tolist() == [*range(13, 0, -1), 0]


def test_groups_that_are_the_classes_are_none():
    table_of([0, 0, 1, 2], [0, 1, 2, 3], groups=4).require_groups("irm")
    with pytest.raises(UsageError, match="method = irm: its groups are the 3 classes; expected a data set that knows"):
        table_of([0, 1, 2]).require_groups("irm")
    with pytest.raises(UsageError, match="its groups are the 2 classes"):  # (y, a), and a says y
        table_of([0, 0, 1], [0, 0, 3], 2, 4).require_groups("irm")


def places(label, group, classes, groups):
    return table_of(label, group, classes, groups).environments().tolist()


def test_environments_by_hand():
    assert places([0, 0, 1, 1], [0, 1, 2, 3], 2, 4) == [0, 1, 0, 1]
    assert places([0, 0, 1], [0, 1, 3], 2, 4) == [0, 1, 0, 1]  # no picture of group 2: 3 keeps its place
    assert places([0, 0, 1, 1, 1], [0, 1, 2, 3, 0], 2, 4) == [0, 1, 0, 1]  # the last label is wrong
    assert places([0, 0, 0, 1, 1, 1], [0, 1, 2, 3, 4, 5], 2, 6) == [0, 1, 2, 0, 1, 2]
    assert places([0, 0, 1, 2], [0, 1, 2, 3], 3, 4) == [0, 1, 0, 0]  # ranks
    assert places([0, 1, 0, 1], [0, 1, 2, 3], 2, 4) == [0, 0, 1, 1]  # groups in another order: ranks
    assert places([0, 1, 2], [0, 1, 2], 3, 3) == [0, 0, 0]
