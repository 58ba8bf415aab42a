"""Parts of a batch, such as classes, groups or environments, and means over them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Parts(NamedTuple):
    """The parts of a batch. ids: int64 (P,), the parts; place: int64 (n,), index of each picture's part in ids; counts:
    int64 (P,), pictures of each.

    known: whether `ids` holds only parts that are in the batch, which is free to find out on a CPU. Otherwise it holds
    all possible parts: only the device knows which are in the batch, and a step does not wait for it.
    """

    ids: Tensor
    place: Tensor
    counts: Tensor
    known: bool

    def means(self, values: Tensor) -> Tensor:
        """Return the mean of each part, (P,) or (P, A), 0 for an absent part. values: (n,) or (n, A)."""
        sums = values.new_zeros(len(self.counts), *values.shape[1:]).index_add(0, self.place, values)
        return sums / self.counts.to(values).clamp(min=1).view(-1, *[1] * (values.dim() - 1))

    def mean_over(self, values: Tensor) -> Tensor:
        """Return the mean over the parts in the batch. values: (P,) or (P, A)."""
        there = (self.counts > 0).view(-1, *[1] * (values.dim() - 1))
        return torch.where(there, values, 0).sum(0) / there.sum()

    def variance_over(self, values: Tensor, at_least: int = 1, correction: int = 0) -> Tensor:
        """Return the variance over the parts with at least `at_least` pictures; 0 if there are too few parts.

        values: (P, ...); the sum of squares is divided by the number of parts minus `correction`.
        """
        if self.known:
            some = values if at_least == 1 else values[self.counts >= at_least]
            return some.var(0, correction=correction) if len(some) > correction else torch.zeros_like(values[0])
        taken = (self.counts >= at_least).view(-1, *[1] * (values.dim() - 1))
        number = taken.sum()
        mean = torch.where(taken, values, 0).sum(0) / number.clamp(min=1)
        squares = torch.where(taken, values - mean, 0).square().sum(0)
        return squares / (number - correction).clamp(min=1)

    def rows(self, values: Tensor, k: int) -> Tensor:
        """Return the rows of the k-th part of values (n, A); if not `known`, all rows, 0 for other parts."""
        return values[self.place == k] if self.known else values * (self.place == k)[:, None]


def is_known(part: Tensor) -> bool:
    """Return whether the CPU can read a batch's parts without waiting."""
    return part.is_cpu


def parts_of(part: Tensor, most: int) -> Parts:
    """Return the parts of a batch. part: int64 (n,) in [0, most), the part of each picture."""
    if is_known(part):
        ids, place, counts = part.unique(return_inverse=True, return_counts=True)
        return Parts(ids, place, counts, known=True)
    ids = torch.arange(most, device=part.device)
    counts = torch.zeros_like(ids).index_add_(0, part, torch.ones_like(part))
    return Parts(ids, part, counts, known=False)
