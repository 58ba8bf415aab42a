import numpy as np
import pytest

from clp_aug.contract.errors import UsageError
from clp_aug.protocol.long_tail import class_counts, thin
from tests.clp_aug.datasets.tiny_sets import Table


def test_cifar10_at_ratio_100_after_ten_meta_pictures_a_class():
    assert class_counts(4990, 10, 100).tolist() == [4990, 2991, 1793, 1075, 644, 386, 231, 138, 83, 49]


@pytest.mark.parametrize(
    ("largest", "classes", "ratio", "last", "total"),
    [
        (5000, 10, 100, 50, 12406),
        (5000, 10, 10, 500, 20431),
        (500, 100, 100, 5, 10847),
        (500, 100, 10, 50, 19573),
        (4990, 10, 100, 49, 12380),
        (4990, 10, 10, 499, 20391),
        (490, 100, 100, 4, 10626),
        (490, 100, 10, 49, 19183),
    ],
)
def test_totals_of_the_literature(largest, classes, ratio, last, total):
    counts = class_counts(largest, classes, ratio)
    assert (counts[0], counts[-1], counts.sum()) == (largest, last, total)


def test_one_class_and_ratio_one():
    assert class_counts(7, 1, 100).tolist() == [7]
    assert class_counts(7, 3, 1).tolist() == [7, 7, 7]


def test_thinning_keeps_the_counts_and_no_more_than_there_are():
    dataset = Table([50, 100, 3, 100])
    kept = thin(dataset, np.arange(253), 20, seed=0)
    # n = 100, 36, 13, 5, and the classes hold 50, 100, 3, 100
    assert np.bincount(dataset.samples.label[kept]).tolist() == [50, 36, 3, 5]
    assert (np.diff(dataset.samples.sample_id[kept]) > 0).all()


def test_thinning_depends_on_the_seed_not_on_the_order_and_nests():
    dataset, rows = Table([60, 60, 60]), np.arange(180)
    kept = thin(dataset, rows, 10, seed=3)
    np.testing.assert_array_equal(kept, thin(dataset, np.random.default_rng(0).permutation(rows), 10, seed=3))
    assert set(kept) != set(thin(dataset, rows, 10, seed=4))
    assert set(thin(dataset, rows, 30, seed=3)) < set(kept)


@pytest.mark.parametrize("ratio", [0.5, 0, -1, float("nan"), float("inf")])
def test_ratio_out_of_range(ratio):
    with pytest.raises(UsageError, match=rf"imbalance {ratio}: expected a ratio >= 1, largest to smallest class"):
        class_counts(10, 2, ratio)


def test_class_that_would_vanish():
    message = r"imbalance 100: class 'class1' would keep no picture, the largest class keeps 50; use a smaller ratio"
    with pytest.raises(UsageError, match=message):
        thin(Table([50, 50]), np.arange(100), 100, seed=0)
