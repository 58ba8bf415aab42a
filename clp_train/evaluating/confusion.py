"""Which classes are taken for which: the confusion matrix, and its largest entries where there are many classes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Pair(NamedTuple):
    """Pictures of one class that were taken for another. label, predicted: classes; of: all pictures of the label."""

    label: int
    predicted: int
    pictures: int
    of: int


def confusion(predicted: Tensor, label: Tensor, classes: int) -> Tensor:
    """Return how many pictures of each class, down, were taken for each, across: int64 (C, C).

    predicted, label: int64 (n,) in [0, C).
    """
    return torch.bincount(label * classes + predicted, minlength=classes**2).view(classes, classes)


def most_confused(counts: Tensor, most: int) -> list[Pair]:
    """Return the largest entries off the diagonal, the largest first, of equal ones by their classes; no empty ones.

    counts: int64 (C, C), as `confusion` gives it.
    """
    wrong = counts.clone().fill_diagonal_(0).flatten()
    order = torch.sort(wrong, descending=True, stable=True).indices[:most].tolist()
    totals, classes = counts.sum(1).tolist(), len(counts)
    return [Pair(k // classes, k % classes, int(wrong[k]), totals[k // classes]) for k in order if wrong[k] > 0]
