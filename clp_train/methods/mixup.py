"""Mixup (Zhang et al. 2018): mix every batch with a permutation of itself, pictures and labels by one share.

With a frozen body it mixes features.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from clp_aug.common.settings import Settings, setting
from clp_train.algorithm.method import Context, Method
from clp_train.methods.parts.mixing import interpolate, taken
from clp_train.pictures.types import Batch


@dataclass(frozen=True)
class Options(Settings):
    """The setting of mixup. Source: the authors' code for CIFAR."""

    alpha: float = setting(
        1.0, "The first picture's share in all mixtures of a batch is drawn from Beta(alpha, alpha); 0 for no mixing.",
        low=0, source="1 for CIFAR, 0.2 for ImageNet",
    )  # fmt: skip


class Mixup(Method):
    """One share and one random permutation per batch, so a picture may meet itself. Source: the authors' code."""

    def __init__(self, options: Options, classes: int) -> None:
        self.alpha, self.classes = options.alpha, classes

    def mixed(self, batch: Batch, rng: np.random.Generator) -> Batch:
        if self.alpha == 0:
            return batch
        share, order = rng.beta(self.alpha, self.alpha), torch.from_numpy(rng.permutation(len(batch)))
        shares = torch.full((len(batch),), share, dtype=torch.float64)
        return interpolate(replace(batch, second=taken(batch, order)), shares, self.classes)


def build(options: Options, context: Context) -> Mixup:
    """Return the method before its first step."""
    return Mixup(options, context.table.classes)
