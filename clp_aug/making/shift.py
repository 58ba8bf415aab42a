"""Which bird gets which background: splits, places and backgrounds of a set with a spurious background. No pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clp_aug.contract.errors import InputError
from clp_aug.contract.seeds import rng_for
from clp_aug.datasets.base import SPLITS, TEST, TRAIN, VAL
from clp_aug.datasets.waterbirds_names import CLASSES, PLACES


@dataclass(frozen=True)
class Composition:
    """One picture of the set. bird: row of the birds; background: row of the backgrounds of its place."""

    number: int
    bird: int
    label: int
    split: int
    place: int
    background: int


def draw_splits(label: np.ndarray, given: Sequence[int | None], shares: Sequence[float], seed: int) -> np.ndarray:
    """Return the split of every bird, int64 (n,), with the shares in each class.

    label: int64 (n,); given: fixed splits, None for splits to draw; shares: relative sizes of train, val and test. If
    test is fixed for some birds, the others are divided into train and val.
    """
    split = np.array([-1 if s is None else s for s in given], np.int64)
    parts = (TRAIN, VAL) if (split == TEST).any() else (TRAIN, VAL, TEST)
    for c in range(len(CLASSES)):
        free = rng_for(seed, c, "waterbirds split").permutation(np.flatnonzero((label == c) & (split < 0)))
        ends = np.cumsum([shares[s] for s in parts]) / sum(shares[s] for s in parts) * len(free)
        for s, rows in zip(parts, np.split(free, np.rint(ends[:-1]).astype(np.int64)), strict=True):
            split[rows] = s
    return split


def other_place(count: int, split: int, share: float) -> int:
    """Return how many of `count` birds of one class and split get the place of the other class.

    share: fraction of training birds with the place of their own class; in val and test it is half, and one more for an
    odd number.
    """
    return round(count * (1 - share)) if split == TRAIN else count // 2


def apportion(total: int, needs: Sequence[int]) -> list[int]:
    """Return the number of backgrounds of each split, `total` in all: in proportion to its need, at least one per need.

    Largest remainders; total must be at least the number of needs > 0.
    """
    ideal = np.asarray(needs, float) * total / sum(needs)
    shares = np.maximum(np.floor(ideal), np.asarray(needs) > 0).astype(np.int64)
    while shares.sum() != total:
        gap = ideal - shares
        if shares.sum() < total:
            shares[np.argmax(np.where(np.asarray(needs) > 0, gap, -np.inf))] += 1
        else:
            shares[np.argmin(np.where(shares > 1, gap, np.inf))] -= 1
    return shares.tolist()


def compose(
    label: np.ndarray, split: np.ndarray, backgrounds: Sequence[int], share: float, per_bird: int, seed: int
) -> list[Composition]:
    """Return the pictures of the set, numbered in the order of the birds.

    label, split: int64 (n,), of the birds; backgrounds: their number for each place; share: as in `other_place`;
    per_bird: pictures per bird. No background is in two splits; within a split they are used in turn. Raises InputError
    if a group would be empty or a split would have no backgrounds. Source: ours, after Sagawa et al. (2020).
    """
    bird = np.repeat(np.arange(len(label)), per_bird)
    y, s = label[bird], split[bird]
    place = y.copy()
    for which in (TRAIN, VAL, TEST):
        for c in range(len(CLASSES)):
            rows = np.flatnonzero((s == which) & (y == c))
            count = other_place(len(rows), which, share)
            if not len(rows) - count or not (count or (which == TRAIN and share == 1)):
                raise InputError(
                    f"{SPLITS[which]}: {len(rows)} {CLASSES[c]} pictures give {count} on {PLACES[1 - c]}; every group"
                    " needs one; give more birds, other --shares, a smaller --confounding or a larger --per-bird"
                )
            order = rng_for(seed, which * len(CLASSES) + c, "waterbirds place").permutation(rows)
            place[order[:count]] = 1 - c
    background = np.zeros(len(bird), np.int64)
    for p, total in enumerate(backgrounds):
        needs = [int(((place == p) & (s == which)).sum()) for which in (TRAIN, VAL, TEST)]
        if total < sum(n > 0 for n in needs):
            raise InputError(f"{total} {PLACES[p]} pictures, but three splits share none; give more --{PLACES[p]}")
        order = rng_for(seed, p, "waterbirds backgrounds").permutation(total)
        for which, own in enumerate(np.split(order, np.cumsum(apportion(total, needs))[:-1])):
            rows = np.flatnonzero((place == p) & (s == which))
            rows = rng_for(seed, which * len(PLACES) + p, "waterbirds pairs").permutation(rows)
            background[rows] = own[np.arange(len(rows)) % max(len(own), 1)]
    columns = (bird, y, s, place, background)
    return [Composition(number, *map(int, row)) for number, row in enumerate(zip(*columns, strict=True))]
