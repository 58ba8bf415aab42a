"""AUDIT: means of cells and their differences, with intervals of the bootstrap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from clp_train.auditing.bootstrap import (
    Cells,
    Weights,
    bootstrap,
    crossed_variance,
    drawn_together,
    interval,
    means,
    over_strata,
    two_sided_p,
)

DIGITS = 12  # digits of a figure; later digits depend on the order of sums
SAME = 1e-9


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval. value is None without any data; low and high are None with too little data.

    Shares are in [0, 1], differences of shares in [-1, 1]. pictures: the number of audited pictures behind it.
    """

    value: float | None
    low: float | None
    high: float | None
    pictures: int


@dataclass
class Plan:
    """Figures to compute. means: name -> cells, and their number of strata; differences: name -> names of two means
    with equal numbers of strata, first minus second; averaged: names of means over strata, all with the same weight.
    Means that only serve differences have names that begin with "_" and are not returned.
    """

    means: dict[str, tuple[Cells, int]] = field(default_factory=dict)
    differences: dict[str, tuple[str, str]] = field(default_factory=dict)
    averaged: set[str] = field(default_factory=set)

    def mean(self, name: str, cells: Cells, strata: int = 1, average: bool = False) -> None:
        """Add a mean in each stratum, or the mean over strata."""
        self.means[name] = cells, strata
        self.averaged |= {name} if average else set()

    def difference(self, name: str, first: Cells, second: Cells, strata: int = 1, average: bool = False) -> None:
        """Add the mean of the first cells minus that of the second, in each stratum, or the mean over strata."""
        self.mean(f"_{name}+", first, strata, average)
        self.mean(f"_{name}-", second, strata, average)
        self.differences[name] = f"_{name}+", f"_{name}-"
        self.averaged |= {name} if average else set()

    def statistic(self, weights: Weights) -> dict[str, np.ndarray]:
        """Return all figures under some weights, by name, float64 (R, strata), (R, 1) of averaged ones."""
        found = {name: means(cells, strata, weights) for name, (cells, strata) in self.means.items()}
        found |= {name: over_strata(found[name]) for name in found if name in self.averaged}
        both = {name: found[first] - found[second] for name, (first, second) in self.differences.items()}
        asked = {name: values for name, values in found.items() if not name.startswith("_")} | both
        return {name: values.round(DIGITS) for name, values in asked.items()}

    def variance(self, name: str) -> np.ndarray | None:
        """Return the variance of a figure, float64 (strata,), None if its cells have several donors."""
        names = self.differences.get(name, (name,))
        strata = self.means[names[0]][1]
        sides = [self.means[each][0] for each in names]
        single = all(side.donors.shape[1] == 1 for side in sides)
        return crossed_variance(sides, strata, name in self.averaged) if single else None

    def pictures(self, name: str) -> np.ndarray:
        """Return how many pictures are behind a figure, int64 (strata,)."""
        cells, strata = self.means[self.differences.get(name, (name,))[0]]
        pairs = np.unique(np.stack([cells.stratum, cells.picture]), axis=1)
        count = np.bincount(pairs[0], minlength=strata)
        return count.sum(keepdims=True) if name in self.averaged else count

    def least(self, name: str) -> int:
        """Return the lowest possible value of a figure: 0 for a mean of shares, else -1."""
        is_share = name in self.means and bool((self.means[name][0].value >= 0).all())
        return 0 if is_share else -1

    def largest(self) -> int:
        """Return the number of cells of the largest mean."""
        return max((len(cells.picture) for cells, _ in self.means.values()), default=0)


@dataclass(frozen=True)
class Found:
    """Computed figures: name -> Estimates, one per stratum; p_value: name -> p value of "it is 0", for figures with one
    stratum.
    """

    estimates: Mapping[str, tuple[Estimate, ...]]
    p_value: Mapping[str, float]

    def __getitem__(self, name: str) -> tuple[Estimate, ...]:
        return self.estimates[name]


def estimate(plan: Plan, pictures: int, donors: int, seed: int, resamples: int) -> Found:
    """Return the figures of a plan. pictures, donors: how many there are to resample.

    Cells of pairs of backgrounds have two donors. Their intervals are those of the plain pigeonhole bootstrap, which
    are wider than necessary. Source: ours, on Owen 2007 and Cameron, Gelbach and Miller 2011.
    """
    out, p_value = {}, {}
    most = plan.largest()
    for name, (value, replicates) in bootstrap(plan.statistic, pictures, donors, most, seed, resamples).items():
        variance = plan.variance(name)
        if variance is not None:
            replicates = drawn_together(value, replicates, variance)
        numbers = zip(value, *interval(replicates), plan.pictures(name), strict=True)
        least = plan.least(name)
        out[name] = tuple(made_of(v, low, high, count, least) for v, low, high, count in numbers)
        if len(value) == 1:
            p_value[name] = two_sided_p(replicates[:, 0])
    return Found(out, p_value)


def made_of(value: float, low: float, high: float, pictures: int, least: int) -> Estimate:
    """Return numbers, NaN for unknown, as an Estimate. least: the lowest possible value, 0 or -1; the highest is 1.

    If all resamples are equal, because a few pictures all gave the same answer, the interval extends 3 / pictures to
    both sides: an event that n pictures never show may still have that frequency (the rule of three; Hanley and
    Lippman-Hand 1983).
    """
    if high - low < SAME:
        low, high = max(least, value - 3 / pictures), min(1, value + 3 / pictures)
    known = [float(x) if np.isfinite(x) else None for x in (value, low, high)]
    return Estimate(known[0], known[1], known[2], int(pictures))
