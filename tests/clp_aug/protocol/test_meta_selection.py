import numpy as np
import pytest

from clp_aug.contract.errors import UsageError
from clp_aug.protocol.meta_selection import choose
from clp_aug.protocol.specs import MetaSpec, parse_meta
from tests.clp_aug.datasets.tiny_sets import Table


def test_specs():
    assert parse_meta("10/class") == MetaSpec(10, "class")
    assert parse_meta("3/group") == MetaSpec(3, "group")
    assert parse_meta("1000/balanced") == MetaSpec(1000, "balanced")
    assert parse_meta("10/cluster") == MetaSpec(10, "cluster")


@pytest.mark.parametrize(
    "spec", ["", "10", "10/", "/class", "0/class", "-1/class", "1.5/class", "10/Class", "10/people", "10/class "]
)
def test_wrong_specs(spec):
    with pytest.raises(
        UsageError,
        match=rf"meta set '{spec}': expected a count >= 1 and one of class, group, balanced, cluster, such as 10/class",
    ):
        parse_meta(spec)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("spec", "per_class"), [("4/class", 4), ("15/balanced", 5), ("2/group", 4)])
def test_counts_order_and_origin(spec, per_class, seed):
    dataset = Table([20, 8, 30], val=9, groups=True, seed=seed)
    candidates = np.flatnonzero(dataset.samples.split == 0)
    rows = choose(dataset, spec, candidates, seed)
    assert np.bincount(dataset.samples.label[rows]).tolist() == [per_class] * 3
    assert len(set(rows)) == len(rows)
    assert set(rows) <= set(candidates)
    assert (np.diff(dataset.samples.sample_id[rows]) > 0).all()
    if spec == "2/group":
        assert np.bincount(dataset.samples.group[rows]).tolist() == [2] * 6


def test_the_seed_decides_and_the_order_does_not():
    dataset = Table([50, 50])
    rows = np.arange(100)
    chosen = choose(dataset, "5/class", rows, 1)
    np.testing.assert_array_equal(chosen, choose(dataset, "5/class", rows[::-1], 1))
    assert set(chosen) != set(choose(dataset, "5/class", rows, 2))
    # fewer pictures of class 0 leave the choice of class 1 alone
    fewer = choose(dataset, "5/class", rows[20:], 1)
    np.testing.assert_array_equal(chosen[dataset.samples.label[chosen] == 1], fewer[dataset.samples.label[fewer] == 1])


def test_too_few_pictures():
    dataset = Table([9, 4], groups=True)
    rows = np.arange(13)
    message = r"meta set 5/class: class 'class1' has 4 pictures to draw from, 5 are needed; ask for fewer with --meta$"
    with pytest.raises(UsageError, match=message):
        choose(dataset, "5/class", rows, 0)
    with pytest.raises(
        UsageError, match=r"meta set 3/group: group 'class1 a' has 2 pictures to draw from, 3 are needed;"
    ):
        choose(dataset, "3/group", rows, 0)
    assert len(choose(dataset, "4/class", rows, 0)) == 8
    message = (
        r"meta set 4/class: class 'class1' has 4 pictures to draw from, 5 are needed"
        r" \(4 for meta, 1 left to train on\); ask for fewer with --meta, or --keep-meta-in-train"
    )
    with pytest.raises(UsageError, match=message):
        choose(dataset, "4/class", rows, 0, leave=1)
    with pytest.raises(UsageError, match=r"class 'class1' has 4 pictures .* 5 are needed \(4 for meta, 1 left"):
        choose(dataset, "2/group", rows, 0, leave=1)


def test_settings_that_the_data_set_cannot_meet():
    dataset = Table([9, 9, 9])
    with pytest.raises(UsageError, match=r"meta set 2/group: data set table has no groups; use 2/class"):
        choose(dataset, "2/group", np.arange(27), 0)
    with pytest.raises(UsageError, match=r"meta set 10/balanced: 10 is no multiple of the 3 classes; use one"):
        choose(dataset, "10/balanced", np.arange(27), 0)
