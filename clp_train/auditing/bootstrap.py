"""AUDIT: intervals of means over pictures that share backgrounds, by resampling pictures and donors at once.

A donor is a picture that gives its background. One donor stands behind many pictures, so what is seen before it is not
seen afresh each time. In the pigeonhole bootstrap (Owen 2007, "The pigeonhole bootstrap") pictures are drawn with
replacement, donors as well, and what was seen of a picture before a donor weighs as often as the picture was drawn
times as often as the donor was. Its spread is never too small, but chance within single cells is counted three times:
where there is little else, intervals come out almost twice as wide as they need to be. So the resamples are drawn
together about the figure until their variance is that of two crossed clusters (Cameron, Gelbach and Miller 2011,
"Robust inference with multiway clustering"), which counts it once; their shape stays.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from clp_aug.contract.seeds import rng_for

RESAMPLES = 1000
LEVEL = 0.95
MOST_WEIGHTS = 2_000_000  # of cells at a time: 16 MB
ONE = -1  # of a donor: none, so that its weight is 1 whatever is drawn


class Cells(NamedTuple):
    """What was seen, one value a cell. picture: int64 (n,), which was looked at; donors: int64 (n, m), indices of those
    whose backgrounds play a part, ONE for none; value: float64 (n,); stratum: int64 (n,), e.g. the class.
    """

    picture: np.ndarray
    donors: np.ndarray
    value: np.ndarray
    stratum: np.ndarray


class Weights(NamedTuple):
    """How often each was drawn in R resamples. pictures: float32 (R, P); donors: float32 (R, D + 1), the last ones."""

    pictures: np.ndarray
    donors: np.ndarray


Statistic = Callable[[Weights], Mapping[str, np.ndarray]]
"""Weights of R resamples -> name -> values, float64 (R, S), NaN where nothing is left to take the mean of."""


def unit_weights(pictures: int, donors: int) -> Weights:
    """Return the weights of the sample itself, one resample of ones."""
    return Weights(np.ones((1, pictures), np.float32), np.ones((1, donors + 1), np.float32))


def resampled_weights(pictures: int, donors: int, seed: int, resamples: int, cells: int) -> Iterator[Weights]:
    """Yield weights of all resamples, some at a time: so many that as many weights of `cells` cells are held at once.

    pictures, donors: how many there are, >= 0. The numbers do not hang on how many come at a time. Source: Owen 2007.
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
    """Return the weighted mean of the cells of each stratum, float64 (R, strata); NaN where no weight is left."""
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
    """Return of each name what the sample gives, float64 (S,), and what each resample does, float64 (resamples, S).

    cells: the most that the statistic weighs at once; it bounds the memory. Arguments as in `resampled_weights`.
    """
    whole = statistic(unit_weights(pictures, donors))
    parts = [statistic(some) for some in resampled_weights(pictures, donors, seed, resamples, cells)]
    return {name: (value[0], np.concatenate([part[name] for part in parts])) for name, value in whole.items()}


def crossed_variance(sides: Sequence[Cells], strata: int, averaged: bool = False) -> np.ndarray:
    """Return the variance of the mean of the first cells minus that of the second, if there are any, in each stratum:
    float64 (strata,). Cells of one picture, on either side, go together, and cells of one donor; m must be 1.

    averaged: whether it is of the mean over strata that have cells, float64 (1,). It is that of pictures plus that of
    donors minus that of cells, or that of pictures alone where it is larger; NaN for a stratum of less than two
    pictures. Source: Cameron, Gelbach and Miller 2011; the factor n / (n - 1) of each kind of cluster, for the mean is
    of the same cells, is the usual one.
    """
    parts = [deviations(cells, strata) * sign for cells, sign in zip(sides, (1, -1), strict=False)]
    of_mean = np.concatenate(parts)
    picture, donor, stratum = (
        np.concatenate([values(cells) for cells in sides])
        for values in (lambda cells: cells.picture, lambda cells: cells.donors[:, 0], lambda cells: cells.stratum)
    )
    side = np.repeat(np.arange(len(sides)), [len(cells.picture) for cells in sides])
    alone = donor == ONE  # each a cluster of its own
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
    """Return what each cell adds to the deviation of its stratum's mean, float64 (n,)."""
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
    """Return the sum over clusters of the squared sums of values in them, in each stratum, float64 (strata,)."""
    first, which = clusters(stratum, cluster)
    return np.bincount(stratum[first], np.bincount(which, value, len(first)) ** 2, strata)


def clusters(stratum: np.ndarray, cluster: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first cell of each cluster of each stratum, and of each cell which of these it is in; int64 (n,)."""
    keys = stratum * (int(cluster.max(initial=0)) + 1) + cluster
    _, first, which = np.unique(keys, return_index=True, return_inverse=True)
    return first, which.ravel()


def drawn_together(value: np.ndarray, replicates: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Return replicates (R, S) nearer to the figure, value (S,), so that their variance is at most `variance` (S,).

    Where that is NaN they stay as they are.
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

    NaN for a column of which less than half of the resamples have a value: too few pictures or donors.
    """
    tails = 100 * np.array([(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    enough = np.isfinite(replicates).mean(0) >= 0.5
    out = np.full((2, replicates.shape[1]), np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        out[:, enough] = np.nanpercentile(replicates[:, enough], tails, axis=0)
    return out


def two_sided_p(replicates: np.ndarray) -> float:
    """Return the two-sided bootstrap p value of "the difference is 0", replicates (R,); 1 where none has a value.

    Twice the smaller share of resamples on either side of 0, those at 0 on both, with the sample counted as one more
    (Davison and Hinkley 1997), so never 0.
    """
    known = replicates[np.isfinite(replicates)]
    if not len(known):
        return 1.0
    side = min((known <= 0).sum(), (known >= 0).sum())
    return float(min(1.0, 2 * (side + 1) / (len(known) + 1)))
