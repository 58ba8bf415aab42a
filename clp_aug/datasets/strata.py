"""READ: the strata of a long tail, for reports: classes with many, a medium number and few training pictures."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from clp_aug.datasets.base import TRAIN

SHOTS = ("many shots", "medium shots", "few shots")
MANY, FEW = 100, 20  # many: more than 100; few: fewer than 20


def shots_of(counts: npt.ArrayLike) -> np.ndarray:
    """Return the stratum of classes by their training pictures, int64 (C,): 0 more than 100, 1 20 to 100, 2 fewer.

    Source: Liu et al. 2019, "Large-Scale Long-Tailed Recognition in an Open World".
    """
    counts = np.asarray(counts)
    return np.where(counts > MANY, 0, np.where(counts < FEW, 2, 1)).astype(np.int64)


def shot_strata(label: np.ndarray, split: np.ndarray, classes: int) -> Mapping[str, tuple[tuple[str, ...], np.ndarray]]:
    """Return the strata of a data set by the training pictures of each class. label, split: (n,), of its pictures."""
    counts = np.bincount(label[split == TRAIN], minlength=classes)
    return {"shots": (SHOTS, shots_of(counts)[label])}
