"""EVALUATE by hand."""

import pytest
import torch

from clp_train.metrics import measure


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


def test_groups_unseen_in_training_weigh_the_same():
    found = measure(torch.tensor([0, 1, 1]), torch.tensor([0, 1, 0]), torch.tensor([0, 1, 1]), 2, [0, 0, 9])
    assert found.weighted_average == pytest.approx((1 + 1 / 2) / 2)


def test_an_absent_class_has_no_accuracy():
    found = measure(torch.tensor([1]), torch.tensor([1]), torch.tensor([1]), 3, [1, 1, 1])
    assert found.per_class == (None, 1.0, None)
    assert found.worst == 1.0
