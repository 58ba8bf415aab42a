"""The meta batch of a step: the stream that cycles through the meta set, and factuals made inside the batch."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from clp_aug.contract.schema import FACTUAL, ORIGINAL
from clp_train.config import MetaBatchSettings
from clp_train.models.parts import Classifier
from clp_train.pictures.batching import batch_of, meta_rows
from clp_train.pictures.infills import fgsm, mix_rand
from clp_train.pictures.keys import generator_for
from clp_train.pictures.settings import BatchSettings
from clp_train.pictures.store import Store
from clp_train.pictures.types import Batch, BoxedPictures, as_input


@dataclass(frozen=True)
class MetaStream:
    """The meta batches of a run. meta: the pictures that its meta step looks at, where they live."""

    meta: Store
    settings: MetaBatchSettings
    batches: BatchSettings
    seed: int

    def batch(self, step: int, network: Classifier) -> Batch:
        """Return the meta batch of one step, transformed as training pictures are, on the device of the run.

        network: the classifier as it is, which FGSM attacks; it is left as it was.
        """
        size = min(self.settings.meta_batch_size or self.batches.batch_size, len(self.meta))
        rows = meta_rows(step, len(self.meta), size, self.seed)
        pictures = self.meta.take(rows)
        if self.settings.online != "none":
            originals, generator = (
                rows[self.meta.kind[rows].numpy() == ORIGINAL],
                generator_for(self.seed, step, "online"),
            )
            pictures = pictures.followed_by(online_factuals(self.meta, originals, self.settings, generator, network))
        return batch_of(pictures, generator_for(self.seed, step, "meta transform"), self.batches.transform)


def online_factuals(
    meta: Store, rows: np.ndarray, settings: MetaBatchSettings, generator: torch.Generator, network: Classifier
) -> BoxedPictures:
    """Return a factual of each original whose background can be replaced; uint8 as they came. rows: int64 (n,)."""
    originals = meta.take(rows)
    if not len(rows):
        return originals
    images, done = originals.images, torch.ones(len(rows), dtype=torch.bool)
    if settings.online == "mix-rand":
        box, label = meta.box[rows], meta.label[rows]  # on the CPU, which knows without waiting what can be replaced
        images, done = mix_rand(images, box, label, generator)
    else:
        pixels = fgsm(
            network, as_input(images), originals.box, originals.label, settings.online_epsilon, True, generator
        )
        images = (pixels * 255).round().to(torch.uint8)
    factuals = replace(originals, images=images, kind=torch.full_like(originals.kind, FACTUAL))
    return factuals if done.all() else factuals.take(done.nonzero().squeeze(1))
