"""How a batch falls into parts, such as classes, groups or environments, and means over them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Parts(NamedTuple):
    """The parts of a batch. ids: int64 (P,), which they are; place: int64 (n,), where each picture's part is among
    them; counts: int64 (P,), pictures of each.

    known: whether these are the parts that are there, and to look at them costs nothing. Else they are all that there
    may be: which ones are there is known once a device has looked, and a step does not wait for that.
    """

    ids: Tensor
    place: Tensor
    counts: Tensor
    known: bool

    def means(self, values: Tensor) -> Tensor:
        """Return the mean of each part, (P,) or (P, A), 0 of one that is not there. values: (n,) or (n, A)."""
        sums = values.new_zeros(len(self.counts), *values.shape[1:]).index_add(0, self.place, values)
        return sums / self.counts.to(values).clamp(min=1).view(-1, *[1] * (values.dim() - 1))

    def mean_over(self, values: Tensor) -> Tensor:
        """Return the mean over the parts that are there. values: (P,) or (P, A)."""
        there = (self.counts > 0).view(-1, *[1] * (values.dim() - 1))
        return torch.where(there, values, 0).sum(0) / there.sum()

    def variance_over(self, values: Tensor, at_least: int = 1, correction: int = 0) -> Tensor:
        """Return the variance over the parts with so many pictures at least; 0 where there are too few of them.

        values: (P, ...); the sum of squares is divided by their number less the correction.
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
        """Return the rows of the k-th part of values (n, A); where they are not known, all, those of others 0."""
        return values[self.place == k] if self.known else values * (self.place == k)[:, None]


def is_known(part: Tensor) -> bool:
    """Tell whether the host may look at a batch's parts without waiting."""
    return part.is_cpu


def parts_of(part: Tensor, most: int) -> Parts:
    """Return the parts of a batch. part: int64 (n,) in [0, most), the part of each picture."""
    if is_known(part):
        ids, place, counts = part.unique(return_inverse=True, return_counts=True)
        return Parts(ids, place, counts, known=True)
    ids = torch.arange(most, device=part.device)
    counts = torch.zeros_like(ids).index_add_(0, part, torch.ones_like(part))
    return Parts(ids, part, counts, known=False)
