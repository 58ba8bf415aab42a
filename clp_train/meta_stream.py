"""The meta batch of a step: the stream that cycles through the meta set, and factuals made inside the batch."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from clp_aug.contract.schema import FACTUAL, ORIGINAL
from clp_train.batches import Batch, BoxedPictures, generator_for, make_batch, meta_rows
from clp_train.config import TrainConfig
from clp_train.online import fgsm, mix_rand


def meta_batch(meta: BoxedPictures, step: int, config: TrainConfig, network: nn.Module) -> Batch:
    """Return the meta batch of one step, transformed as training pictures are.

    network: the classifier as it is, which FGSM attacks; it is left as it was.
    """
    size = min(config.meta_batch_size or config.batch_size, len(meta))
    rows = meta_rows(step, len(meta), size, config.seed)
    generator = generator_for(config.seed, step, "meta transform")
    if config.online == "none":
        return make_batch(meta, rows, generator, config.transform)
    chosen = meta.take(torch.from_numpy(rows))
    made = online_factuals(chosen.take((chosen.kind == ORIGINAL).nonzero().squeeze(1)), step, config, network)
    whole = chosen.followed_by(made)
    return make_batch(whole, np.arange(len(whole)), generator, config.transform)


def online_factuals(originals: BoxedPictures, step: int, config: TrainConfig, network: nn.Module) -> BoxedPictures:
    """Return a factual of each original whose background can be replaced; uint8 as they came."""
    if not len(originals):
        return originals
    generator = generator_for(config.seed, step, "online")
    images, made = originals.images, torch.ones(len(originals), dtype=torch.bool)
    if config.online == "mix-rand":
        images, made = mix_rand(images, originals.box, originals.label, generator)
    else:
        attacked = fgsm(
            network, images.float() / 255, originals.box, originals.label, config.online_epsilon, True, generator
        )
        images = (attacked * 255).round().to(torch.uint8)
    kind = torch.full_like(originals.kind, FACTUAL)
    columns = vars(originals) | {"images": images, "kind": kind}
    return BoxedPictures(*(values[made] for values in columns.values()))
