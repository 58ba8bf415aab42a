"""New batches from batches: select rows, append rows, mix pictures with their partners; soft labels."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from clp_train.methods.parts.placing import beside
from clp_train.methods.parts.present import require
from clp_train.pictures.moving import onto
from clp_train.pictures.types import Batch


def interpolate(batch: Batch, share: Tensor, classes: int) -> Batch:
    """Return share x + (1 - share) x' of pictures and one-hot labels; everything else is that of the first pictures.

    batch: with `second`; share: (n,) in [0, 1], of the first. Source: mixup of Zhang et al. 2018, with one share per
    picture.
    """
    share = beside(share, batch.images)
    wide = share.view(-1, *[1] * (batch.images.dim() - 1))
    second = require(batch.second, "partners of the batch")
    labels = [F.one_hot(part.label, classes).to(share) for part in (batch, second)]
    target = share[:, None] * labels[0] + (1 - share)[:, None] * labels[1]
    images = wide * batch.images + (1 - wide) * second.images
    return replace(batch, images=images, target=target, second=None)


def taken(batch: Batch, rows: Tensor) -> Batch:
    """Return rows of a batch, int64 (k,) on the CPU, in that order, without partners; columns keep their devices."""
    columns = {name: values for name, values in vars(batch).items() if isinstance(values, Tensor)}
    there = onto(rows, batch.images.device)
    parts = {name: values[rows if name == "row" else there] for name, values in columns.items()}
    return replace(batch, **parts, second=None)


def followed_by(batch: Batch, *others: Batch) -> Batch:
    """Return a batch with others appended, without partners; all have the same columns on the same devices."""
    names = [name for name, values in vars(batch).items() if isinstance(values, Tensor)]
    parts = {name: torch.cat([vars(part)[name] for part in (batch, *others)]) for name in names}
    return replace(batch, **parts, second=None)
