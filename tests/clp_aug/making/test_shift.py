"""Who stands before what: the published counts, nothing on two sides, and shares beside an exhaustive search."""

import itertools

import numpy as np
import pytest

from clp_aug.contract.errors import InputError
from clp_aug.datasets.waterbirds import PUBLISHED
from clp_aug.making.shift import apportion, compose, draw_splits


def counts(plan):
    found = np.zeros((3, 4), int)
    for one in plan:
        found[one.split, 2 * one.label + one.place] += 1
    return found


def birds(*per_class):
    """per_class: birds of each split, for landbirds and for waterbirds."""
    label = np.repeat([0, 0, 0, 1, 1, 1], np.ravel(per_class))
    return label, np.repeat([0, 1, 2, 0, 1, 2], np.ravel(per_class))


def test_the_published_birds_give_the_published_counts():
    published = np.array(PUBLISHED)
    plan = compose(*birds(published[:, :2].sum(1), published[:, 2:].sum(1)), (6000, 5000), 0.95, 1, 0)
    np.testing.assert_array_equal(counts(plan), published)
    assert [one.number for one in plan] == list(range(published.sum()))


@pytest.mark.parametrize("seed", range(6))
def test_no_bird_and_no_background_serves_two_splits(seed):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(20, 60, (2, 3))
    backgrounds = rng.integers(3, 90, 2).tolist()
    plan = compose(*birds(*sizes), backgrounds, 0.9, int(rng.integers(1, 4)), seed)
    split_of = {}
    for one in plan:
        for thing in (("bird", one.bird), ("background", one.place, one.background)):
            assert split_of.setdefault(thing, one.split) == one.split, thing
    for place in range(2):
        for split in range(3):
            used = [one.background for one in plan if (one.place, one.split) == (place, split)]
            uses = np.bincount(used)
            assert np.ptp(uses[uses > 0]) <= 1, "the backgrounds of a split take turns"
            assert max(used) < backgrounds[place]


def test_several_pictures_a_bird():
    plan = compose(*birds((20, 4, 4), (20, 4, 4)), (9, 9), 0.75, 3, 0)
    assert np.bincount([one.bird for one in plan]).tolist() == [3] * 56
    np.testing.assert_array_equal(counts(plan), [[45, 15, 15, 45], [6, 6, 6, 6], [6, 6, 6, 6]])


def test_the_seed_decides():
    table = birds((20, 4, 4), (20, 4, 4))
    first, again, other = (compose(*table, (30, 30), 0.9, 1, seed) for seed in (3, 3, 4))
    assert first == again
    assert first != other
    np.testing.assert_array_equal(counts(first), counts(other))


def test_complete_confounding_has_two_groups_in_training():
    plan = compose(*birds((8, 4, 4), (8, 4, 4)), (9, 9), 1.0, 1, 0)
    np.testing.assert_array_equal(counts(plan), [[8, 0, 0, 8], [2, 2, 2, 2], [2, 2, 2, 2]])


@pytest.mark.parametrize(
    ("sizes", "backgrounds", "message"),
    [
        (((8, 4, 4), (30, 4, 4)), (9, 9), r"train: 8 landbird pictures give 0 on water; every group needs one; give"),
        (((30, 4, 4), (30, 4, 1)), (9, 9), r"test: 1 waterbird pictures give 0 on land; every group needs one"),
        (((30, 4, 4), (30, 0, 4)), (9, 9), r"val: 0 waterbird pictures give 0 on land"),
        (((30, 4, 4), (30, 4, 4)), (9, 2), r"^2 water pictures, but three splits share none; give more --water$"),
    ],
)  # fmt: skip
def test_too_few(sizes, backgrounds, message):
    with pytest.raises(InputError, match=message):
        compose(*birds(*sizes), backgrounds, 0.95, 1, 0)


def test_shares_are_as_near_as_any():
    rng = np.random.default_rng(0)
    for _ in range(300):
        needs = rng.integers(0, 30, 3)
        needs[rng.integers(3)] += 1
        total = int(rng.integers((needs > 0).sum(), 14))
        found = apportion(total, needs.tolist())
        ideal = needs * total / needs.sum()
        allowed = [
            parts
            for parts in itertools.product(range(total + 1), repeat=3)
            if sum(parts) == total and all(p >= 1 if n else p == 0 for p, n in zip(parts, needs, strict=True))
        ]
        best = min(sum((np.array(parts) - ideal) ** 2) for parts in allowed)
        assert tuple(found) in allowed
        assert sum((np.array(found) - ideal) ** 2) == pytest.approx(best), (total, needs)


def test_splits_are_drawn_within_classes():
    label = np.repeat([0, 1], [200, 60])
    split = draw_splits(label, [None] * 260, (60, 15, 25), 0)
    assert np.bincount(split[:200]).tolist() == [120, 30, 50]
    assert np.bincount(split[200:]).tolist() == [36, 9, 15]
    assert (split != draw_splits(label, [None] * 260, (60, 15, 25), 1)).any()
    np.testing.assert_array_equal(split, draw_splits(label, [None] * 260, (60, 15, 25), 0))


def test_a_given_test_split_stays_and_the_rest_becomes_train_and_val():
    label = np.repeat([0, 1], [50, 50])
    given = [2 if i % 5 == 0 else None for i in range(100)]
    split = draw_splits(label, given, (4795, 1199, 5794), 0)
    assert [s for s, g in zip(split.tolist(), given, strict=True) if g == 2] == [2] * 20
    assert np.bincount(split[:50]).tolist() == [32, 8, 10]  # 1199 of 5994 is a fifth


def test_splits_that_are_all_given_stay():
    assert draw_splits(np.array([0, 1, 0]), [2, 0, 1], (1, 1, 1), 0).tolist() == [2, 0, 1]
