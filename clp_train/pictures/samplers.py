"""The registry of samplers: the order in which an epoch goes through its pictures; one function and one line each.

A sampler is a function (label, group, rng) -> rows: int64 (N,) each, as many rows as pictures.
"""

from __future__ import annotations

import numpy as np

TOGETHER, MOST = (
    4,
    4,
)  # of `class_aware`: consecutive pictures of a class, and the largest epoch in passes over the pictures


def natural(label: np.ndarray, group: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return every picture once."""
    return rng.permutation(len(label))


def balanced_by_class(label: np.ndarray, group: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return every class equally often, with repeats."""
    return draw_evenly(label, rng)


def balanced_by_group(label: np.ndarray, group: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return every group equally often, with repeats."""
    return draw_evenly(group, rng)


def draw_evenly(part: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return len(part) rows drawn with replacement, so that each part, int64 (N,), is equally likely."""
    _, place, counts = np.unique(part, return_inverse=True, return_counts=True)
    return rng.choice(len(part), len(part), p=1 / (len(counts) * counts[place]))


def even_batches(part: np.ndarray, batch_size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Return the batches of an epoch with equally many pictures of every part, int64 (N,), up to a difference of one.

    There are N rows in total, int64, in as few batches as one pass over the pictures needs. The pictures of a part come
    in random order, all of them before any is repeated.
    """
    _, part_of = np.unique(part, return_inverse=True)
    turn = rng.permutation(part_of.max() + 1)[np.arange(len(part)) % (part_of.max() + 1)]
    rows = np.empty(len(part), np.int64)
    for p in range(part_of.max() + 1):
        places = np.flatnonzero(turn == p)
        rows[places] = repeat(np.flatnonzero(part_of == p), len(places), rng)
    return np.array_split(rows, -(-len(part) // batch_size))


def class_aware_size(label: np.ndarray) -> int:
    """Return the number of pictures of an epoch of `class_aware`: C n_max, but at most 4 N. label: int64 (N,)."""
    counts = np.unique(label, return_counts=True)[1]
    return min(len(counts) * int(counts.max()), MOST * len(label))


def class_aware(label: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the rows of an epoch, all classes equally often, int64 (M,), M of `class_aware_size`. label: int64 (N,).

    Classes take turns with four pictures each, all classes before any is repeated; the same holds for the pictures of a
    class. Source: the class-aware sampler of Kang et al. (2020), with the settings of Tang et al. (2022).
    """
    there, class_of = np.unique(label, return_inverse=True)
    total = class_aware_size(label)
    turn = repeat(np.arange(len(there)), -(-total // TOGETHER), rng).repeat(TOGETHER)[:total]
    rows = np.empty(total, np.int64)
    for c in range(len(there)):
        places = np.flatnonzero(turn == c)
        rows[places] = repeat(np.flatnonzero(class_of == c), len(places), rng)
    return rows


def repeat(rows: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return `count` rows, int64 (count,), in random order: all rows before any is repeated."""
    passes = [rng.permutation(rows) for _ in range(-(-count // len(rows)))]
    return np.concatenate([rows[:0], *passes])[:count]


SAMPLERS = {"natural": natural, "class": balanced_by_class, "group": balanced_by_group}
