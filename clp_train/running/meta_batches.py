"""The meta batch of a step: the stream that cycles through the meta set, and factuals made inside the batch."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from clp_aug.contract.schema import FACTUAL, ORIGINAL
from clp_train.models.parts import Classifier
from clp_train.pictures.batching import batch_of, meta_rows
from clp_train.pictures.infills import fgsm, mix_rand
from clp_train.pictures.keys import generator_for
from clp_train.pictures.settings import BatchSettings
from clp_train.pictures.store import Store, ahead
from clp_train.pictures.types import Batch, BoxedPictures, as_input
from clp_train.run_settings import MetaBatchSettings


@dataclass(frozen=True)
class MetaStream:
    """The meta batches of a run. meta: the pictures of its meta step, where they are stored."""

    meta: Store
    settings: MetaBatchSettings
    batches: BatchSettings
    seed: int

    def rows(self, step: int) -> np.ndarray:
        """Return the rows of the meta pictures of one step, int64 (n,)."""
        size = min(self.settings.meta_batch_size or self.batches.batch_size, len(self.meta))
        return meta_rows(step, len(self.meta), size, self.seed)

    def ahead(self, steps: Iterable[int]) -> Generator[BoxedPictures, None, None]:
        """Yield the pictures of steps on the device of the run, sent in advance as by `pictures.store.ahead`."""
        return ahead(self.meta, map(self.rows, steps))

    def batch(self, step: int, pictures: BoxedPictures, network: Classifier) -> Batch:
        """Return the meta batch of one step, transformed as training pictures are, on the device of the run.

        pictures: of its rows; network: the present classifier, which FGSM attacks; it does not change.
        """
        if self.settings.online != "none":
            rows = self.rows(step)
            places = np.flatnonzero(self.meta.kind[rows].numpy() == ORIGINAL)
            box, label = self.meta.box[rows[places]], self.meta.label[rows[places]]
            originals, generator = pictures.take(torch.from_numpy(places)), generator_for(self.seed, step, "online")
            made = online_factuals(originals, box, label, self.settings, generator, network)
            pictures = pictures.followed_by(made)
        return batch_of(pictures, generator_for(self.seed, step, "meta transform"), self.batches.transform)


def online_factuals(
    originals: BoxedPictures,
    box: Tensor,
    label: Tensor,
    settings: MetaBatchSettings,
    generator: torch.Generator,
    network: Classifier,
) -> BoxedPictures:
    """Return a factual of each original whose background can be replaced, uint8 like the originals.

    box, label: of the originals, int64 (n, 4) and (n,), on the CPU, so that it can decide without waiting.
    """
    if not len(originals):
        return originals
    images, done = originals.images, torch.ones(len(originals), dtype=torch.bool)
    if settings.online == "mix-rand":
        images, done = mix_rand(images, box, label, generator)
    else:
        pixels = fgsm(
            network, as_input(images), originals.box, originals.label, settings.online_epsilon, True, generator
        )
        images = (pixels * 255).round().to(torch.uint8)
    factuals = replace(originals, images=images, kind=torch.full_like(originals.kind, FACTUAL))
    return factuals if done.all() else factuals.take(done.nonzero().squeeze(1))
