"""Which classes are confused: the confusion matrix, and its largest entries if there are many classes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Pair(NamedTuple):
    """Pictures of one class that were predicted as another. label, predicted: classes; of: pictures of the label."""

    label: int
    predicted: int
    pictures: int
    of: int


def confusion(predicted: Tensor, label: Tensor, classes: int) -> Tensor:
    """Return the number of pictures of each class (rows) that were predicted as each class (columns): int64 (C, C).

    predicted, label: int64 (n,) in [0, C).
    """
    return torch.bincount(label * classes + predicted, minlength=classes**2).view(classes, classes)


def most_confused(counts: Tensor, most: int) -> list[Pair]:
    """Return the largest nonzero entries off the diagonal, the largest first; equal ones in the order of classes.

    counts: int64 (C, C), as `confusion` gives it.
    """
    wrong = counts.clone().fill_diagonal_(0).flatten()
    order = torch.sort(wrong, descending=True, stable=True).indices[:most].tolist()
    totals, classes = counts.sum(1).tolist(), len(counts)
    return [Pair(k // classes, k % classes, int(wrong[k]), totals[k // classes]) for k in order if wrong[k] > 0]
