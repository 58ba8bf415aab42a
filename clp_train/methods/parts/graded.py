"""The registry of sources of graded counterfactuals: pictures on the way from an original to its counterfactual.

A source is a function (pairs, share, generator) -> images, uint8 (P, 3, H, W): pairs of pictures, and share: float32
(P,) in [0, 1], how much of each original's evidence for its label remains. A new source is one function and one line.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from clp_aug.contract.schema import COUNTERFACTUAL, ORIGINAL
from clp_train.pictures.types import BoxedPictures


class Pairs(NamedTuple):
    """Originals and their counterfactuals, row by row, with the same boxes."""

    originals: BoxedPictures
    counterfactuals: BoxedPictures


def pairs_of(meta: BoxedPictures) -> Pairs:
    """Return every counterfactual of a meta set, in its order, with the original that it was made from."""
    counterfactuals = (meta.kind == COUNTERFACTUAL).nonzero().squeeze(1)
    originals = (meta.kind == ORIGINAL).nonzero().squeeze(1)
    order = meta.sample_id[originals].argsort()
    place = torch.searchsorted(meta.sample_id[originals][order], meta.sample_id[counterfactuals])
    return Pairs(meta.take(originals[order[place]]), meta.take(counterfactuals))


def blend(pairs: Pairs, share: Tensor, generator: torch.Generator) -> Tensor:
    """Each pixel is share * original + (1 - share) * counterfactual, rounded."""
    wide = share.view(-1, 1, 1, 1).to(pairs.originals.images.device)
    mixed = wide * pairs.originals.images + (1 - wide) * pairs.counterfactuals.images
    return mixed.round().to(torch.uint8)


def reveal(pairs: Pairs, share: Tensor, generator: torch.Generator) -> Tensor:
    """A share of the box's columns, rounded, shows the original, from its left or its right edge."""
    x0, _, x1, _ = pairs.originals.box.T
    width = x1 - x0
    columns = (share.to(width.device) * width).round().long()
    from_left = (torch.rand(share.shape, generator=generator) < 0.5).to(width.device)
    start = torch.where(from_left, x0, x1 - columns)[:, None]
    xs = torch.arange(pairs.originals.images.shape[3], device=width.device)
    original = (xs >= start) & (xs < start + columns[:, None])  # (P, W)
    return torch.where(original[:, None, None], pairs.originals.images, pairs.counterfactuals.images)


SOURCES = {"blend": blend, "reveal": reveal}
