"""The registry of samplers: the order in which an epoch goes through its pictures; one function and one line each.

A sampler is a function (label, group, rng) -> rows: int64 (N,) each, as many rows as pictures.
"""

from __future__ import annotations

import numpy as np


def natural(label: np.ndarray, group: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Every picture once."""
    return rng.permutation(len(label))


def balanced_by_class(label: np.ndarray, group: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Every class equally often, with repeats."""
    return evenly(label, rng)


def balanced_by_group(label: np.ndarray, group: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Every group equally often, with repeats."""
    return evenly(group, rng)


def evenly(part: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return len(part) rows drawn with replacement, so that each part, int64 (N,), is equally likely."""
    _, where, counts = np.unique(part, return_inverse=True, return_counts=True)
    return rng.choice(len(part), len(part), p=1 / (len(counts) * counts[where]))


SAMPLERS = {"natural": natural, "class": balanced_by_class, "group": balanced_by_group}
