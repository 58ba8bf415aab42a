"""AUDIT: intervals of means over pictures that share backgrounds, by resampling pictures and donors at once.

A donor is a picture that gives its background. Many pictures share one donor, so their answers are not independent.
The pigeonhole bootstrap (Owen 2007, "The pigeonhole bootstrap") draws pictures with replacement, and donors too. The
weight of a cell (one picture on one donor) is the number of draws of the picture times that of the donor. The
spread of these resamples is never too small, but it counts the chance within single cells three times: where there is
little other variance, intervals are almost twice as wide as necessary. So the resamples are moved towards the figure
until their variance is that of two crossed clusters (Cameron, Gelbach and Miller 2011, "Robust inference with multiway
clustering"), which counts this chance once. The shape of their distribution stays.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from clp_aug.contract.seeds import rng_for

RESAMPLES = 1000
LEVEL = 0.95
MOST_WEIGHTS = 2_000_000  # of cells that are held at once: 16 MB
ONE = -1  # index of "no donor": its weight is always 1


class Cells(NamedTuple):
    """Observations, one value for each cell. picture: int64 (n,), its picture; donors: int64 (n, m), indices of the
    donors of its backgrounds, ONE for none; value: float64 (n,); stratum: int64 (n,), e.g. the class.
    """

    picture: np.ndarray
    donors: np.ndarray
    value: np.ndarray
    stratum: np.ndarray


class Weights(NamedTuple):
    """How often each was drawn in R resamples. pictures: float32 (R, P); donors: float32 (R, D + 1), last column 1."""

    pictures: np.ndarray
    donors: np.ndarray


Statistic = Callable[[Weights], Mapping[str, np.ndarray]]
"""Weights of R resamples -> name -> values, float64 (R, S), NaN for a mean of no cells."""


def unit_weights(pictures: int, donors: int) -> Weights:
    """Return the weights of the sample itself, one resample of ones."""
    return Weights(np.ones((1, pictures), np.float32), np.ones((1, donors + 1), np.float32))


def resampled_weights(pictures: int, donors: int, seed: int, resamples: int, cells: int) -> Iterator[Weights]:
    """Yield the weights of all resamples in batches, so that the weights of `cells` cells fit into MOST_WEIGHTS.

    pictures, donors: how many there are, >= 0. The numbers do not depend on the batch size. Source: Owen 2007.
    """
    of_pictures, of_donors = (rng_for(seed, 0, f"audit/{name}") for name in ("pictures", "donors"))
    size = max(1, min(resamples, MOST_WEIGHTS // max(1, cells, pictures)))
    for start in range(0, resamples, size):
        count = min(size, resamples - start)
        ones = np.ones((count, 1), np.float32)
        yield Weights(
            times_drawn(pictures, count, of_pictures), np.hstack([times_drawn(donors, count, of_donors), ones])
        )


def times_drawn(items: int, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Return how often each of n items comes in n draws with replacement, float32 (resamples, n)."""
    if items == 0:
        return np.zeros((resamples, 0), np.float32)
    drawn = rng.integers(items, size=(resamples, items)) + items * np.arange(resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=resamples * items).reshape(resamples, items).astype(np.float32)


def means(cells: Cells, strata: int, weights: Weights) -> np.ndarray:
    """Return the weighted mean of the cells of each stratum, float64 (R, strata); NaN where all weights are 0."""
    order = np.argsort(cells.stratum, kind="stable")
    weight = weights.pictures[:, cells.picture[order]]
    for donors in cells.donors[order].T:
        weight *= weights.donors[:, donors]
    out = np.full((len(weight), strata), np.nan)
    if not len(order):
        return out
    present, starts = np.unique(cells.stratum[order], return_index=True)
    total = np.add.reduceat(weight, starts, axis=1, dtype=np.float64)
    weight *= cells.value[order].astype(np.float32)
    some = np.add.reduceat(weight, starts, axis=1, dtype=np.float64)
    out[:, present] = np.divide(some, total, out=np.full_like(some, np.nan), where=total > 0)
    return out


def over_strata(values: np.ndarray) -> np.ndarray:
    """Return the mean over strata that have one, each counting alike: (R, strata) -> float64 (R, 1)."""
    known = np.isfinite(values)
    total, count = np.where(known, values, 0).sum(1, keepdims=True), known.sum(1, keepdims=True)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def bootstrap(
    statistic: Statistic, pictures: int, donors: int, cells: int, seed: int, resamples: int
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return for each name the value of the sample, float64 (S,), and of each resample, float64 (resamples, S).

    cells: the largest number of cells that the statistic weighs at once; it bounds the memory. Other arguments: as in
    `resampled_weights`.
    """
    whole = statistic(unit_weights(pictures, donors))
    parts = [statistic(some) for some in resampled_weights(pictures, donors, seed, resamples, cells)]
    return {name: (value[0], np.concatenate([part[name] for part in parts])) for name, value in whole.items()}


def crossed_variance(sides: Sequence[Cells], strata: int, averaged: bool = False) -> np.ndarray:
    """Return the variance of the mean of the first cells, minus the mean of the second cells if there are any, in each
    stratum: float64 (strata,). All cells of one picture are one cluster, and all cells of one donor; m must be 1.

    averaged: whether to return the variance of the mean over strata that have cells, float64 (1,). The variance is that
    of pictures plus that of donors minus that of cells, or that of pictures alone if this is larger; NaN for a stratum
    of fewer than two pictures. Source: Cameron, Gelbach and Miller 2011, with the usual factor n / (n - 1) for each
    kind of cluster.
    """
    parts = [deviations(cells, strata) * sign for cells, sign in zip(sides, (1, -1), strict=False)]
    of_mean = np.concatenate(parts)
    picture, donor, stratum = (
        np.concatenate([values(cells) for cells in sides])
        for values in (lambda cells: cells.picture, lambda cells: cells.donors[:, 0], lambda cells: cells.stratum)
    )
    side = np.repeat(np.arange(len(sides)), [len(cells.picture) for cells in sides])
    alone = donor == ONE  # each cell is its own cluster
    donor = np.where(alone, len(donor) + np.arange(len(donor)), donor)
    few = np.sqrt(spread_factor(stratum * len(sides) + side, donor))
    of_picture = of_mean * np.sqrt(spread_factor(stratum, picture))
    if averaged:
        present = len(np.unique(stratum))
        of_mean, of_picture, stratum, strata = of_mean / present, of_picture / present, np.zeros_like(stratum), 1
    of_pictures = sums_of_squares(of_picture, picture, stratum, strata)
    of_donors = sums_of_squares(of_mean * few, donor, stratum, strata)
    of_cells = np.bincount(stratum, (of_mean * few) ** 2, strata)
    total = np.maximum(of_pictures + of_donors - of_cells, of_pictures)
    return np.where(np.isfinite(total) & (np.bincount(stratum, minlength=strata) > 0), total, np.nan)


def deviations(cells: Cells, strata: int) -> np.ndarray:
    """Return the contribution of each cell to the deviation of its stratum's mean, float64 (n,)."""
    count = np.bincount(cells.stratum, minlength=strata).clip(min=1)
    mean = np.bincount(cells.stratum, cells.value, strata) / count
    out: np.ndarray = (cells.value - mean[cells.stratum]) / count[cells.stratum]
    return out


def spread_factor(stratum: np.ndarray, cluster: np.ndarray) -> np.ndarray:
    """Return n / (n - 1) for each cell, n the number of clusters in its stratum, float64; NaN for one cluster."""
    first, _ = clusters(stratum, cluster)
    count = np.bincount(stratum[first], minlength=int(stratum.max(initial=0)) + 1)[stratum].astype(np.float64)
    return np.divide(count, count - 1, out=np.full_like(count, np.nan), where=count > 1)


def sums_of_squares(value: np.ndarray, cluster: np.ndarray, stratum: np.ndarray, strata: int) -> np.ndarray:
    """Return for each stratum the sum over clusters of the squared sum of their values, float64 (strata,)."""
    first, which = clusters(stratum, cluster)
    return np.bincount(stratum[first], np.bincount(which, value, len(first)) ** 2, strata)


def clusters(stratum: np.ndarray, cluster: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first cell of each cluster of each stratum, and the cluster of each cell; int64 (n,)."""
    keys = stratum * (int(cluster.max(initial=0)) + 1) + cluster
    _, first, which = np.unique(keys, return_index=True, return_inverse=True)
    return first, which.ravel()


def drawn_together(value: np.ndarray, replicates: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Return replicates (R, S) moved towards the figure, value (S,), so that their variance is at most `variance` (S,).

    Where `variance` is NaN they do not change.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # columns without any value
        spread = np.nanvar(replicates, axis=0)
    wide = (spread > 0) & (variance < spread)
    factor = np.sqrt(np.divide(variance, spread, out=np.ones_like(spread), where=wide))
    out: np.ndarray = value + (replicates - value) * factor
    return out


def interval(replicates: np.ndarray) -> np.ndarray:
    """Return the percentile interval of each column of replicates (R, S), float64 (2, S): low and high at LEVEL.

    NaN for a column with a value in less than half of the resamples: too few pictures or donors.
    """
    tails = 100 * np.array([(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    enough = np.isfinite(replicates).mean(0) >= 0.5
    out = np.full((2, replicates.shape[1]), np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        out[:, enough] = np.nanpercentile(replicates[:, enough], tails, axis=0)
    return out


def two_sided_p(replicates: np.ndarray) -> float:
    """Return the two-sided bootstrap p value of "the difference is 0", replicates (R,); 1 if no replicate has a value.

    It is twice the smaller share of resamples at or below 0, and at or above 0. The sample counts as one more resample
    (Davison and Hinkley 1997), so p is never 0.
    """
    known = replicates[np.isfinite(replicates)]
    if not len(known):
        return 1.0
    side = min((known <= 0).sum(), (known >= 0).sum())
    return float(min(1.0, 2 * (side + 1) / (len(known) + 1)))
