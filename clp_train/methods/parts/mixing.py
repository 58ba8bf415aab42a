"""Pictures mixed with their partners, and the soft labels that go with them."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor
from torch.nn import functional as F

from clp_train.methods.parts.placing import beside
from clp_train.methods.parts.present import require
from clp_train.pictures.types import Batch


def interpolate(batch: Batch, share: Tensor, classes: int) -> Batch:
    """Return share x + (1 - share) x' of pictures and one-hot labels; all else is that of the first pictures.

    batch: with `second`; share: (n,) in [0, 1], of the first. Source: mixup of Zhang et al. 2018, a share a picture.
    """
    share = beside(share, batch.images)
    wide = share.view(-1, *[1] * (batch.images.dim() - 1))
    second = require(batch.second, "partners of the batch")
    labels = [F.one_hot(part.label, classes).to(share) for part in (batch, second)]
    target = share[:, None] * labels[0] + (1 - share)[:, None] * labels[1]
    images = wide * batch.images + (1 - wide) * second.images
    return replace(batch, images=images, target=target, second=None)
