"""The meta batch of a step: the stream that cycles through the meta set, and factuals made inside the batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from clp_aug.contract.schema import FACTUAL, ORIGINAL
from clp_train.config import MetaBatchSettings
from clp_train.models.parts import Classifier
from clp_train.pictures.batching import make_batch, meta_rows
from clp_train.pictures.infills import fgsm, mix_rand
from clp_train.pictures.keys import generator_for
from clp_train.pictures.settings import BatchSettings
from clp_train.pictures.types import Batch, BoxedPictures, as_input


@dataclass(frozen=True)
class MetaStream:
    """The meta batches of a run. meta: the pictures that its meta step looks at."""

    meta: BoxedPictures
    settings: MetaBatchSettings
    batches: BatchSettings
    seed: int

    def batch(self, step: int, network: Classifier) -> Batch:
        """Return the meta batch of one step, transformed as training pictures are.

        network: the classifier as it is, which FGSM attacks; it is left as it was.
        """
        size = min(self.settings.meta_batch_size or self.batches.batch_size, len(self.meta))
        rows = meta_rows(step, len(self.meta), size, self.seed)
        generator = generator_for(self.seed, step, "meta transform")
        if self.settings.online == "none":
            return make_batch(self.meta, rows, generator, self.batches.transform)
        pictures = self.meta.take(torch.from_numpy(rows))
        originals = pictures.take((pictures.kind == ORIGINAL).nonzero().squeeze(1))
        factuals = online_factuals(originals, self.settings, generator_for(self.seed, step, "online"), network)
        whole = pictures.followed_by(factuals)
        return make_batch(whole, np.arange(len(whole)), generator, self.batches.transform)


def online_factuals(
    originals: BoxedPictures, settings: MetaBatchSettings, generator: torch.Generator, network: Classifier
) -> BoxedPictures:
    """Return a factual of each original whose background can be replaced; uint8 as they came."""
    if not len(originals):
        return originals
    images, mask = originals.images, torch.ones(len(originals), dtype=torch.bool)
    if settings.online == "mix-rand":
        images, mask = mix_rand(images, originals.box, originals.label, generator)
    else:
        pixels = fgsm(
            network, as_input(images), originals.box, originals.label, settings.online_epsilon, True, generator
        )
        images = (pixels * 255).round().to(torch.uint8)
    kind = torch.full_like(originals.kind, FACTUAL)
    columns = vars(originals) | {"images": images, "kind": kind}
    return BoxedPictures(*(values[mask] for values in columns.values()))
