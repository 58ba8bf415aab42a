"""Who goes where in a generated benchmark: counts, shapes, disjointness, and what is too small."""

import numpy as np
import pytest

from clp_aug.contract.errors import UsageError
from clp_aug.making.glt_splits import apportion, divide, most
from clp_aug.protocol.long_tail import class_counts


def pools_of(sizes, seed=0):
    """Return shuffled rows of each (class, attribute); sizes: (C, 3)."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(int(np.sum(sizes)))
    cuts = np.split(rows, np.cumsum(np.ravel(sizes))[:-1])
    return {(c, a): cuts[3 * c + a] for c in range(len(sizes)) for a in range(3)}


def random_sizes(seed, classes):
    rng = np.random.default_rng(seed)
    return np.sort(rng.integers(20, 90, (classes, 3)), axis=1)[:, ::-1] + [120, 30, 0]


def made(sizes, imbalance=10.0, each=20, seed=0):
    names = [f"class{c}" for c in range(len(sizes))]
    return divide(pools_of(sizes), names, imbalance, each, np.random.default_rng(seed))


def counts(cells, classes):
    return np.array([[len(cells[c, a]) for a in range(3)] for c in range(classes)])


@pytest.mark.parametrize("total", range(41))
def test_apportioned_parts_are_whole_sum_up_and_are_near(total):
    parts, exact = apportion(total), total * np.array([0.7, 0.2, 0.1])
    assert parts.sum() == total
    assert (np.abs(parts - exact) < 1).all()


def test_the_tests_of_the_benchmark_have_its_counts():
    assert apportion(60).tolist() == [42, 12, 6]  # Tang et al. 2022: 60 a class
    assert apportion(30).tolist() == [21, 6, 3]
    assert apportion(0).tolist() == [0, 0, 0]


@pytest.mark.parametrize("seed", range(20))
def test_most_is_the_most(seed):
    have, leave = np.random.default_rng(seed).integers(0, 30, 3), seed % 3
    fits = [n for n in range(100) if (apportion(n) <= have - leave).all()]
    assert most(have, leave) == max(fits, default=0)


@pytest.mark.parametrize("seed", range(12))
def test_every_split_is_what_it_says(seed):
    classes = 2 + seed % 6
    sizes = random_sizes(seed, classes)
    benchmark = made(sizes, imbalance=1 + 4 * (seed % 4), each=5 + seed, seed=seed)
    each = benchmark.per_attribute
    assert each == min(5 + seed, sizes.min() // 4)
    pools = pools_of(sizes)
    for kind, splits in benchmark.sets.items():
        assert set(splits) == {"train", "val", "test_lt", "test_bl", "test_bbl"}
        rows = np.concatenate([part for cells in splits.values() for part in cells.values()])
        assert len(set(rows)) == len(rows), "no picture is in two splits of a set"
        for cells in splits.values():
            for cell, part in cells.items():
                assert set(part) <= set(pools[cell])
        assert (counts(splits["test_bbl"], classes) == each).all()
        assert (counts(splits["test_bl"], classes) == apportion(3 * each)).all()
        assert (counts(splits["test_lt"], classes).sum() > 0) == (kind == "glt")
        assert counts(splits["train"], classes).sum(1).min() >= 1
    # the tests are the same pictures for both
    for which in ("test_bl", "test_bbl"):
        for cell in pools:
            np.testing.assert_array_equal(*(benchmark.sets[kind][which][cell] for kind in ("glt", "cbl")))


@pytest.mark.parametrize("seed", range(8))
def test_the_long_tail_has_its_counts_where_the_pictures_suffice(seed):
    sizes = random_sizes(seed, 5)
    benchmark = made(sizes, imbalance=8, seed=seed)
    glt = benchmark.sets["glt"]
    pool = sum(counts(glt[which], 5) for which in ("train", "val", "test_lt"))
    left = sizes - benchmark.per_attribute - apportion(3 * benchmark.per_attribute)
    asked = class_counts(most(left[0], 0), 5, 8)
    expected = np.minimum([apportion(int(n)) for n in asked], left)
    np.testing.assert_array_equal(pool, expected)
    assert benchmark.short == (asked - expected.sum(1)).tolist()
    assert benchmark.short[0] == 0
    total = pool.sum()
    assert counts(glt["val"], 5).sum() == round(0.15 * total)
    assert counts(glt["val"], 5).sum() + counts(glt["test_lt"], 5).sum() == round(0.3 * total)


@pytest.mark.parametrize("seed", range(8))
def test_the_balanced_set_is_balanced_and_as_large(seed):
    sizes = random_sizes(seed, 4)
    benchmark = made(sizes, imbalance=5, seed=seed)
    glt, cbl = benchmark.sets["glt"], benchmark.sets["cbl"]
    for which in ("train", "val"):
        found = counts(cbl[which], 4)
        assert (found == found[0]).all()
        np.testing.assert_array_equal(found[0], apportion(int(found[0].sum())))
    mean = counts(glt["train"], 4).sum() / 4
    assert counts(cbl["train"], 4)[0].sum() <= round(mean)


def test_val_is_distributed_as_train():
    benchmark = made(np.tile([1500, 600, 300], (6, 1)), imbalance=10, each=10)
    glt = benchmark.sets["glt"]
    whole = sum(counts(glt[which], 6) for which in ("train", "val", "test_lt"))
    share = whole / whole.sum()
    for which in ("val", "test_lt"):  # five standard deviations of a draw that is blind to class and attribute
        found = counts(glt[which], 6)
        deviation = np.sqrt(share * (1 - share) / found.sum())
        assert (np.abs(found / found.sum() - share) < 5 * deviation).all()


def test_seeds_differ_and_equal_seeds_do_not():
    sizes = random_sizes(0, 3)
    a, b, c = made(sizes, seed=1), made(sizes, seed=1), made(sizes, seed=2)
    for cell in pools_of(sizes):
        np.testing.assert_array_equal(a.sets["glt"]["val"][cell], b.sets["glt"]["val"][cell])
    assert any(set(a.sets["glt"]["val"][cell]) != set(c.sets["glt"]["val"][cell]) for cell in pools_of(sizes))


def test_what_is_too_small():
    with pytest.raises(UsageError, match=r"^attribute 2 of class 'class1' has 3 pictures, 4 are needed; give more"):
        made([[40, 20, 10], [40, 20, 3]])
    with pytest.raises(UsageError, match=r"^--imbalance 1000: the last class would have no picture, the first one has"):
        made([[90, 40, 20], [90, 40, 20]], imbalance=1000)
    with pytest.raises(
        UsageError, match=r"^not every class has a picture left for training; give more pictures per class"
    ):
        made([[90, 40, 20], [4, 4, 4]])
