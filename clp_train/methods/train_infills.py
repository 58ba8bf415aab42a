"""Control: cross entropy on training pictures of which a share has another background, Mix-Rand out of the batch.

What boxes are worth where every training picture has one, without a meta set, a meta step or a perturbation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from clp_train.algorithm.method import Method
from clp_train.algorithm.table import TrainTable
from clp_train.methods.parts.checks import FEATURES_ONCE, require_learning_body
from clp_train.pictures.infills import mix_rand
from clp_train.pictures.types import Batch


@dataclass(frozen=True)
class Options:
    """share: the chance of each picture to be changed."""

    share: float = 0.5

    def __post_init__(self) -> None:
        require_within("share", self.share, 0, 1)


class TrainInfills(Method):
    """A factual in place of the picture, made anew each time; a picture without a box stays as it is. Source: ours."""

    def __init__(self, options: Options) -> None:
        self.share = options.share

    def mixed(self, batch: Batch, rng: np.random.Generator) -> Batch:
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        made, _ = mix_rand(batch.images, boxes_around(batch.inside), batch.label, generator)
        chosen = torch.from_numpy(rng.random(len(batch)) < self.share) & batch.inside.flatten(1).any(1)
        return replace(batch, images=torch.where(chosen[:, None, None, None], made, batch.images))


def boxes_around(inside: Tensor) -> Tensor:
    """Return the smallest box around each mask, bool (n, H, W): int64 (n, 4), half-open; zeros around nothing."""
    found = []
    for axis in (1, 2):  # whether a column, a row has a part of it
        line = inside.any(axis).long()
        first, last = line.argmax(1), line.shape[1] - line.flip(1).argmax(1)
        found.append((first, torch.where(line.any(1), last, 0)))
    (x0, x1), (y0, y1) = found
    return torch.stack([x0, y0, x1, y1], 1)


def build(config: TrainConfig, table: TrainTable, generator: torch.Generator) -> TrainInfills:
    """Return the control. Raises UsageError for a frozen body, whose features are made once."""
    require_learning_body(config.method, config.trainable, FEATURES_ONCE)
    return TrainInfills(make_options(config.method, config.options))
