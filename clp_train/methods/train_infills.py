"""Control: cross entropy on training pictures; a share of them gets another background, Mix-Rand from the batch.

It shows the effect of boxes for all training pictures, without a meta set, a meta step or a perturbation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from clp_aug.common.settings import Settings, setting
from clp_train.algorithm.method import Context, Method
from clp_train.methods.parts.checks import FEATURES_ONCE, require_learning_body
from clp_train.pictures.infills import mix_rand
from clp_train.pictures.moving import onto
from clp_train.pictures.types import Batch


@dataclass(frozen=True)
class Options(Settings):
    """The setting of the control. Source: ours."""

    share: float = setting(0.5, "Probability that a picture is changed.", low=0, high=1)


class TrainInfills(Method):
    """A new factual replaces the picture each time; a picture without a box is not changed. Source: ours."""

    def __init__(self, options: Options) -> None:
        self.share = options.share

    def mixed(self, batch: Batch, rng: np.random.Generator) -> Batch:
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        infills, _ = mix_rand(batch.images, boxes_around(batch.inside), batch.label, generator)
        drawn = torch.from_numpy(rng.random(len(batch)) < self.share)
        mask = onto(drawn, batch.inside.device) & batch.inside.flatten(1).any(1)
        return replace(batch, images=torch.where(mask[:, None, None, None], infills, batch.images))


def boxes_around(inside: Tensor) -> Tensor:
    """Return the smallest box around each mask, bool (n, H, W): int64 (n, 4), half-open; zeros around nothing."""
    ends = []
    for axis in (1, 2):  # whether a column, a row has a part of it
        line = inside.any(axis).long()
        first, last = line.argmax(1), line.shape[1] - line.flip(1).argmax(1)
        ends.append((first, torch.where(line.any(1), last, 0)))
    (x0, x1), (y0, y1) = ends
    return torch.stack([x0, y0, x1, y1], 1)


def build(options: Options, context: Context) -> TrainInfills:
    """Return the control. Raises SettingError for a frozen body, because its features are computed once."""
    require_learning_body(context, FEATURES_ONCE)
    return TrainInfills(options)
