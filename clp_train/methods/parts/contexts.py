"""A bank of contexts: the latest pictures that a network was sure of, each with a mask of its context."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from clp_train.methods.parts import divided
from clp_train.pictures.moving import onto


@dataclass(frozen=True)
class Bank:
    """images: float (k, 3, H, W), masks: float (k, 1, H, W) in [0, 1], oldest first.

    there: bool (k,), which rows hold a context: the last ones; None for all. It stays on the device, so that no step
    waits for it.
    """

    images: Tensor
    masks: Tensor
    there: Tensor | None = None

    def __len__(self) -> int:
        """Return how many contexts it holds; if only the device knows that, how many it may hold."""
        return len(self.images)

    def holds(self, count: int) -> Tensor | None:
        """Return whether it holds at least `count` contexts, a bool scalar; None if `len` is exact."""
        return None if self.there is None else self.there.sum() >= count

    def take(self, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return images and masks of `count` contexts in random order; all masks are multiplied by one share in [0, 1).

        If it holds fewer (see `holds`), the rows are arbitrary.
        """
        if self.there is None:
            rows, share = draw(rng, len(self), count)
            places = torch.from_numpy(rows)
            return self.images[places], share * self.masks[places]
        drawn = [draw(copy.deepcopy(rng), held, count) for held in range(count, len(self) + 1)]
        behind = [rows + len(self) - held for held, (rows, _) in enumerate(drawn, count)]
        held, device = (self.there.sum() - count).clamp(min=0)[None], self.there.device
        places = onto(torch.from_numpy(np.stack(behind)), device).index_select(0, held)[0]
        part = onto(torch.from_numpy(np.array([share for _, share in drawn])), device).index_select(0, held)[0]
        return self.images[places], part * self.masks[places]

    def to(self, device: torch.device) -> Bank:
        """Return the same on a device."""
        there = None if self.there is None else self.there.to(device)
        return Bank(self.images.to(device), self.masks.to(device), there)

    def whole(self) -> Bank:
        """Return the same without empty rows; this waits for the device."""
        return self if self.there is None else Bank(self.images[self.there], self.masks[self.there])


def draw(rng: np.random.Generator, held: int, count: int) -> tuple[np.ndarray, float]:
    """Return `count` random rows of a bank with `held` contexts, int64 (count,), and a share in [0, 1)."""
    return rng.permutation(held)[:count], rng.uniform()


def added(bank: Bank | None, images: Tensor, masks: Tensor, taken: Tensor, size: int) -> Bank | None:
    """Return a bank, None for an empty one, with the taken contexts of a batch added; the latest `size` are kept.

    images, masks: as in a bank; taken: bool (n,).
    """
    if divided.is_known(taken):
        rows = taken.nonzero().squeeze(1)
        if not len(rows):
            return bank
        before = (None, None) if bank is None else (bank.images, bank.masks)
        return Bank(last_rows(before[0], images[rows], size), last_rows(before[1], masks[rows], size))
    columns: tuple[Tensor, ...] = (images, masks, taken)
    if bank is not None:
        there = torch.ones(len(bank), dtype=torch.bool, device=taken.device) if bank.there is None else bank.there
        old = (bank.images, bank.masks, there)
        columns = tuple(torch.cat([a.to(taken.device), b]) for a, b in zip(old, columns, strict=True))
    order = columns[2].byte().argsort(stable=True)[-size:]  # empty rows first, the others in their order
    return Bank(*(values[order].contiguous() for values in columns))


def last_rows(old: Tensor | None, new: Tensor, size: int) -> Tensor:
    """Return the last `size` rows of the old ones, None for none, followed by the new ones."""
    rows = new if old is None else torch.cat([old.to(new.device), new])
    return rows[-size:].contiguous()  # the same rounding for a new bank and for one from a checkpoint
