"""Cross entropy on pictures after two random operations; see `pictures.transforms.rand_augment`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from clp_train.algorithm.method import Context, Method
from clp_train.methods import NoOptions
from clp_train.methods.parts.checks import FEATURES_ONCE, require_learning_body
from clp_train.pictures.transforms.rand_augment import rand_augment
from clp_train.pictures.types import Batch, as_input


class RandAug(Method):
    """The operations come after the run's own transform, only on training pictures."""

    def mixed(self, batch: Batch, rng: np.random.Generator) -> Batch:
        images, inside = rand_augment((batch.images * 255).round().to(torch.uint8), batch.inside, rng)
        return replace(batch, images=as_input(images), inside=inside)


def build(options: NoOptions, context: Context) -> RandAug:
    """Return the method. Raises SettingError for a frozen body, because its features are computed once."""
    require_learning_body(context, FEATURES_ONCE)
    return RandAug()
