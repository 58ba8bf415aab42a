"""Resampling pictures and donors at once: weights, means, variances and intervals beside loops."""

import numpy as np
import pytest

from clp_train.auditing import bootstrap as module
from clp_train.auditing.bootstrap import (
    ONE,
    Cells,
    Weights,
    bootstrap,
    crossed_variance,
    deviations,
    drawn_together,
    interval,
    means,
    over_strata,
    resampled_weights,
    spread_factor,
    times_drawn,
    two_sided_p,
    unit_weights,
)


def some_cells(rng, pictures, donors, count, strata, slots=1):
    """Cells at random; some have no donor."""
    of = rng.integers(-1, donors, size=(count, slots))
    stratum_of = rng.integers(strata, size=pictures)
    picture = rng.integers(pictures, size=count)
    return Cells(picture, of, rng.normal(size=count).round(2), stratum_of[picture])


def mean_of_copies(cells, drawn_pictures, drawn_donors, stratum):
    """The mean of a resample, made as a list: each cell once for each time that its picture and donors were drawn."""
    copies = []
    for picture, donors, value, at in zip(*cells, strict=True):
        times = drawn_pictures.count(picture)
        for donor in donors:
            times *= 1 if donor == ONE else drawn_donors.count(donor)
        copies += [value] * (times if at == stratum else 0)
    return sum(copies) / len(copies) if copies else np.nan


@pytest.mark.parametrize("case", range(12))
def test_means_are_those_of_lists_of_copies(case):
    rng = np.random.default_rng(case)
    pictures, donors, strata = rng.integers(1, 8), rng.integers(1, 6), rng.integers(1, 4)
    cells = some_cells(rng, pictures, donors, rng.integers(0, 30), strata, slots=1 + case % 2)
    drawn = [
        (rng.integers(pictures, size=pictures).tolist(), rng.integers(donors, size=donors).tolist()) for _ in range(5)
    ]
    weights = Weights(
        np.array([np.bincount(some, minlength=pictures) for some, _ in drawn], np.float32),
        np.array([[*np.bincount(some, minlength=donors), 1] for _, some in drawn], np.float32),
    )
    found = means(cells, strata, weights)
    expected = [[mean_of_copies(cells, *pair, s) for s in range(strata)] for pair in drawn]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


def test_the_sample_itself_has_weights_of_one():
    cells = Cells(np.array([0, 1, 1]), np.array([[0], [0], [ONE]]), np.array([1.0, 2.0, 6.0]), np.array([0, 1, 1]))
    assert means(cells, 3, unit_weights(2, 1))[0].tolist()[:2] == [1, 4]
    assert np.isnan(means(cells, 3, unit_weights(2, 1))[0, 2])


@pytest.mark.parametrize("items", [0, 1, 7])
def test_as_many_are_drawn_as_there_are(items):
    drawn = times_drawn(items, 400, np.random.default_rng(0))
    assert drawn.shape == (400, items)
    assert (drawn.sum(1) == items).all()
    if items == 7:
        assert drawn.mean(0) == pytest.approx(np.ones(7), abs=0.15)
        assert drawn.var() == pytest.approx(1 - 1 / 7, abs=0.1)


@pytest.mark.parametrize("most", [1, 60, 10**9])
def test_resamples_do_not_hang_on_how_many_come_at_a_time(monkeypatch, most):
    whole = list(resampled_weights(9, 5, seed=3, resamples=21, cells=20))
    monkeypatch.setattr(module, "MOST_WEIGHTS", most)
    parts = list(resampled_weights(9, 5, seed=3, resamples=21, cells=20))
    assert len(parts) == {1: 21, 60: 7, 10**9: 1}[most]
    for column in (0, 1):
        one, other = (np.concatenate([each[column] for each in some]) for some in (whole, parts))
        assert np.array_equal(one, other)
    another = next(resampled_weights(9, 5, seed=4, resamples=21, cells=20))
    assert not np.array_equal(another.pictures, whole[0].pictures)


def test_a_bootstrap_is_the_statistic_of_the_sample_and_of_each_resample():
    rng = np.random.default_rng(5)
    cells = some_cells(rng, 10, 4, 40, 2)
    value, replicates = bootstrap(lambda w: {"m": means(cells, 2, w)}, 10, 4, 40, seed=0, resamples=30)["m"]
    assert value == pytest.approx([cells.value[cells.stratum == s].mean() for s in range(2)])
    all_weights = next(resampled_weights(10, 4, 0, 30, 40))
    for r in (0, 17, 29):
        drawn = [
            np.repeat(np.arange(len(row)), row.astype(int)).tolist()
            for row in (all_weights.pictures[r], all_weights.donors[r, :-1])
        ]
        assert replicates[r] == pytest.approx([mean_of_copies(cells, *drawn, s) for s in range(2)])


def variance_by_loops(sides, stratum):
    """Cameron, Gelbach and Miller's variance of a difference of means, in words: pairs of cells that share a picture,
    plus pairs that share a donor, minus pairs that are one cell.
    """
    rows = []
    for sign, cells in zip((1, -1), sides, strict=False):
        inside = [i for i in range(len(cells.value)) if cells.stratum[i] == stratum]
        mean = np.mean([cells.value[i] for i in inside])
        donors = len({cells.donors[i, 0] if cells.donors[i, 0] != ONE else (i, "own") for i in inside})
        rows += [
            (cells.picture[i], (sign, i) if cells.donors[i, 0] == ONE else ("shared", cells.donors[i, 0]),
             sign * (cells.value[i] - mean) / len(inside), np.sqrt(donors / (donors - 1)))
            for i in inside
        ]  # fmt: skip
    pictures = len({row[0] for row in rows})
    of_pictures = of_donors = of_cells = 0.0
    for i, (picture_i, donor_i, r_i, few_i) in enumerate(rows):
        of_cells += (r_i * few_i) ** 2
        for j, (picture_j, donor_j, r_j, few_j) in enumerate(rows):
            of_pictures += r_i * r_j * pictures / (pictures - 1) * (picture_i == picture_j)
            of_donors += r_i * few_i * r_j * few_j * (i == j or donor_i == donor_j)
    return max(of_pictures + of_donors - of_cells, of_pictures)


@pytest.mark.parametrize("case", range(10))
def test_crossed_variance_is_that_of_loops_over_pairs(case):
    rng = np.random.default_rng(case)
    sides = [some_cells(rng, 8, 5, 24, 1) for _ in range(1 + case % 2)]
    assert crossed_variance(sides, 2)[0] == pytest.approx(variance_by_loops(sides, 0), abs=1e-12)
    assert np.isnan(crossed_variance(sides, 2)[1])


def test_a_mean_over_strata_is_that_of_those_that_have_one():
    values = np.array([[1.0, np.nan, 4.0], [np.nan, np.nan, np.nan], [2.0, 3.0, 4.0]])
    assert over_strata(values)[:, 0] == pytest.approx([2.5, np.nan, 3.0], nan_ok=True)


def test_the_variance_of_a_mean_over_classes_is_what_resamples_have():
    """Many cells without donors: the mean of class means varies as its parts do, drawn anew each time."""
    rng = np.random.default_rng(3)
    counts, spreads = (40, 90, 15), (1.0, 0.3, 2.0)
    stratum = np.repeat(np.arange(3), counts)
    drawn = [rng.normal(0, np.repeat(spreads, counts)) for _ in range(400)]
    alone = np.full((len(stratum), 1), ONE)
    cells = [Cells(np.arange(len(stratum)), alone, value, stratum) for value in drawn]
    expected = sum(s**2 / n for s, n in zip(spreads, counts, strict=True)) / 9
    found = [crossed_variance([one], 3, averaged=True)[0] for one in cells]
    assert np.mean(found) == pytest.approx(expected, rel=0.05)
    means_of_means = [np.mean([value[stratum == c].mean() for c in range(3)]) for value in drawn]
    assert np.var(means_of_means) == pytest.approx(expected, rel=0.25)


@pytest.mark.parametrize("case", range(4))
def test_the_variance_of_a_mean_over_classes_counts_shared_donors(case):
    """One donor behind pictures of two classes: its parts add before they are squared."""
    rng = np.random.default_rng(case)
    cells = some_cells(rng, 12, 4, 60, 2)
    cells = cells._replace(donors=np.abs(cells.donors))
    at = [
        deviations(cells, 2) / 2 * np.sqrt(spread_factor(cells.stratum, key))
        for key in (cells.picture, cells.donors[:, 0])
    ]
    pairs = [(cells.picture, at[0]), (cells.donors[:, 0], at[1])]
    total = [sum(values[key == k].sum() ** 2 for k in np.unique(key)) for key, values in pairs]
    expected = max(total[0] + total[1] - (at[1] ** 2).sum(), total[0])
    assert crossed_variance([cells], 2, averaged=True) == pytest.approx([expected])


def test_the_variance_of_pictures_alone_is_the_usual_one_of_a_mean():
    value = np.random.default_rng(0).normal(size=30)
    alone = np.full((30, 1), ONE)
    found = crossed_variance([Cells(np.arange(30), alone, value, np.zeros(30, int))], 1)
    assert found[0] == pytest.approx(value.var(ddof=1) / 30)


def test_one_picture_or_no_cell_has_no_variance():
    one = Cells(np.array([4]), np.array([[ONE]]), np.array([1.0]), np.array([0]))
    none = Cells(np.zeros(0, int), np.zeros((0, 1), int), np.zeros(0), np.zeros(0, int))
    assert np.isnan(crossed_variance([one], 1)[0])
    assert np.isnan(crossed_variance([none], 1)[0])


def test_resamples_are_drawn_together_and_never_apart():
    replicates = np.random.default_rng(1).normal(3, 2, size=(500, 3))
    value, variance = np.array([3.0, 3.0, 3.0]), np.array([1.0, 9.0, np.nan])
    found = drawn_together(value, replicates, variance)
    assert found[:, 0].var() == pytest.approx(1)
    assert np.array_equal(found[:, 1:], replicates[:, 1:])
    assert np.array_equal(np.argsort(found[:, 0]), np.argsort(replicates[:, 0]))


def test_an_interval_leaves_a_fortieth_on_either_side():
    columns = np.stack([np.arange(1001.0), np.full(1001, np.nan), np.arange(1001.0)], 1)
    columns[:400, 2] = np.nan  # more than half are left
    low, high = interval(columns)
    assert (low[0], high[0]) == pytest.approx((25, 975))
    assert np.isnan([low[1], high[1]]).all()
    assert (low[2], high[2]) == pytest.approx((415, 985))
    columns[:600, 2] = np.nan
    assert np.isnan(interval(columns)[:, 2]).all()


def test_p_values_by_hand():
    assert two_sided_p(np.arange(1.0, 100)) == pytest.approx(2 / 100)
    assert two_sided_p(-np.arange(1.0, 100)) == pytest.approx(2 / 100)
    assert two_sided_p(np.r_[-np.ones(10), np.ones(89)]) == pytest.approx(22 / 100)
    assert two_sided_p(np.zeros(99)) == 1
    assert two_sided_p(np.full(9, np.nan)) == 1
