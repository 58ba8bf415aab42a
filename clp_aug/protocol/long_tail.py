"""Protocol: a long tail, with exponentially fewer training pictures from the first class to the last."""

from __future__ import annotations

import math

import numpy as np

from clp_aug.contract.errors import UsageError
from clp_aug.contract.seeds import rng_for
from clp_aug.datasets.base import Dataset

NOTHING = np.empty(0, np.int64)


def check_imbalance(ratio: float) -> None:
    """Raise UsageError unless the ratio of the largest to the smallest class is a finite number >= 1."""
    if not 1 <= ratio < float("inf"):
        raise UsageError(f"imbalance {ratio}: expected a ratio >= 1, largest to smallest class, such as 100")


def class_counts(largest: int, classes: int, ratio: float) -> np.ndarray:
    """Return n_c = int(largest * mu^(c / (C - 1))), mu = 1 / ratio, for c = 0..C-1: int64 (C,).

    Truncated, not rounded; the class order is the label order. Source: Cui et al. 2019; Cao et al. 2019.
    """
    check_imbalance(ratio)
    return np.array([int(largest * (1 / ratio) ** (c / max(classes - 1, 1))) for c in range(classes)], np.int64)


def thin(
    dataset: Dataset, rows: np.ndarray, ratio: float, seed: int, last: np.ndarray = NOTHING, most: float = math.inf
) -> np.ndarray:
    """Keep n_c pictures of each class, drawn by seed, never more than there are.

    rows: training rows in any order; the largest class among them gives n_0, or `most` if that is smaller; last: rows
    that are kept only if the others of their class are not enough. Returns rows, int64, in the order of their ids; with
    the same seed a larger ratio keeps a subset. Raises UsageError if a class would have no picture.
    """
    classes = len(dataset.class_names)
    labels = dataset.samples.label[rows]
    largest = int(np.bincount(labels, minlength=classes).max(initial=0))
    counts = class_counts(int(min(most, largest)), classes, ratio)
    for label in np.flatnonzero(counts == 0).tolist():
        raise UsageError(
            f"imbalance {ratio:g}: class {dataset.class_names[label]!r} would keep no picture, the largest class keeps"
            f" {counts[0]}; use a smaller ratio"
        )
    kept = []
    for label, count in enumerate(counts.tolist()):
        class_rows = rng_for(seed, label, "long-tail").permutation(dataset.samples.ascending(rows[labels == label]))
        kept.append(class_rows[np.argsort(np.isin(class_rows, last), kind="stable")][:count])
    return dataset.samples.ascending(np.concatenate(kept))
