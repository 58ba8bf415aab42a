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

DIGITS = 12  # of a figure; further ones are those of sums in another order
SAME = 1e-9


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval. value is None where there is nothing to compute it of, low and high where too
    little.

    Shares are in [0, 1], differences of shares in [-1, 1]. pictures: how many audited pictures it is of.
    """

    value: float | None
    low: float | None
    high: float | None
    pictures: int


@dataclass
class Plan:
    """Figures to compute. means: name -> cells, and how many strata they have; differences: name -> names of two means
    with as many strata, first minus second; averaged: names of means over strata, each of which counts alike. What only
    serves differences is kept out by a name that begins with "_".
    """

    means: dict[str, tuple[Cells, int]] = field(default_factory=dict)
    differences: dict[str, tuple[str, str]] = field(default_factory=dict)
    averaged: set[str] = field(default_factory=set)

    def mean(self, name: str, cells: Cells, strata: int = 1, average: bool = False) -> None:
        """Ask for a mean in each stratum, or for the mean of these."""
        self.means[name] = cells, strata
        self.averaged |= {name} if average else set()

    def difference(self, name: str, first: Cells, second: Cells, strata: int = 1, average: bool = False) -> None:
        """Ask for mean of the first minus mean of the second cells, in each stratum, or for the mean of these."""
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
        """Return the variance of a figure, float64 (strata,), None of one whose cells have several donors each."""
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
        """Return what a figure is at least: 0 of a mean of shares, else -1."""
        is_share = name in self.means and bool((self.means[name][0].value >= 0).all())
        return 0 if is_share else -1

    def largest(self) -> int:
        """Return the number of cells of the largest mean."""
        return max((len(cells.picture) for cells, _ in self.means.values()), default=0)


@dataclass(frozen=True)
class Found:
    """Figures that were computed: name -> Estimates, one a stratum; p_value: name -> that of "it is 0", of those
    with one stratum.
    """

    estimates: Mapping[str, tuple[Estimate, ...]]
    p_value: Mapping[str, float]

    def __getitem__(self, name: str) -> tuple[Estimate, ...]:
        return self.estimates[name]


def estimate(plan: Plan, pictures: int, donors: int, seed: int, resamples: int) -> Found:
    """Return the figures of a plan. pictures, donors: how many there are to resample.

    Intervals of means over pairs of backgrounds, whose cells have two donors, are those of the pigeonhole bootstrap as
    it is, wider than need be. Source: ours, on Owen 2007 and Cameron, Gelbach and Miller 2011.
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
    """Return numbers, NaN for unknown, as an Estimate. least: what the figure is at least, 0 or -1; at most it is 1.

    Where resamples do not differ, as all of a few pictures came out alike, the interval goes 3 / pictures either way:
    what is never seen among n may yet happen to that share (the rule of three; Hanley and Lippman-Hand 1983).
    """
    if high - low < SAME:
        low, high = max(least, value - 3 / pictures), min(1, value + 3 / pictures)
    known = [float(x) if np.isfinite(x) else None for x in (value, low, high)]
    return Estimate(known[0], known[1], known[2], int(pictures))
