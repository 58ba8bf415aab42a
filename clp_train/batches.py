"""Pictures in memory, and the batches of a step: which rows, in which order, transformed with their masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from clp_aug.contract.schema import KINDS
from clp_aug.contract.seeds import rng_for
from clp_train.config import TrainConfig
from clp_train.samplers import SAMPLERS
from clp_train.transforms import load_transform


@dataclass(frozen=True)
class Pictures:
    """Pictures in memory. images: uint8 (N, 3, H, W); label, group, sample_id: int64 (N,).

    group: the class where the data set knows no groups.
    """

    images: Tensor
    label: Tensor
    group: Tensor
    sample_id: Tensor

    def __len__(self) -> int:
        return len(self.label)


@dataclass(frozen=True)
class BoxedPictures(Pictures):
    """Pictures to learn from. box: int64 (N, 4), half-open pixels; kind: uint8 (N,) of the contract."""

    box: Tensor
    kind: Tensor

    def take(self, rows: Tensor) -> BoxedPictures:
        """Return the given rows, int64 (n,), in that order."""
        fields = (self.images, self.label, self.group, self.sample_id, self.box, self.kind)
        return BoxedPictures(*(values[rows] for values in fields))

    def followed_by(self, others: BoxedPictures) -> BoxedPictures:
        """Return these and then the others, in memory."""
        both = zip(vars(self).values(), vars(others).values(), strict=True)
        return BoxedPictures(*(torch.cat(pair) for pair in both))


@dataclass(frozen=True)
class Batch:
    """A transformed batch. images: float32 (n, 3, H, W) in [0, 1]; inside: bool (n, H, W), True in the box. Features
    of a frozen body come as (n, A), with nothing inside. row: int64 (n,), which pictures of the stream these are;
    target: soft labels (n, C) of mixed pictures; second: as many other pictures, for methods that ask for partners.
    """

    images: Tensor
    inside: Tensor
    label: Tensor
    group: Tensor
    kind: Tensor
    sample_id: Tensor
    row: Tensor | None = None
    target: Tensor | None = None
    second: Batch | None = None

    def __len__(self) -> int:
        return len(self.label)

    def first(self, n: int) -> Batch:
        """Return the first n pictures, without partners."""
        parts = {name: values[:n] for name, values in vars(self).items() if isinstance(values, Tensor)}
        return Batch(**parts)


def masks(box: Tensor, height: int, width: int) -> Tensor:
    """Return r of eq. (6) for boxes (n, 4): bool (n, H, W), True inside."""
    x0, y0, x1, y1 = box.T[..., None]  # each (n, 1)
    ys, xs = torch.arange(height), torch.arange(width)
    return ((ys >= y0) & (ys < y1))[:, :, None] & ((xs >= x0) & (xs < x1))[:, None, :]


def generator_for(seed: int, index: int, stage: str) -> torch.Generator:
    """Return the torch generator of one key, as `rng_for` is numpy's."""
    return torch.Generator().manual_seed(int(rng_for(seed, index, stage).integers(1 << 63)))


def as_input(images: Tensor) -> Tensor:
    """Return uint8 pictures as float32 in [0, 1]; features, already float, as they are."""
    return images if images.is_floating_point() else images.float() / 255


def make_batch(pictures: BoxedPictures, rows: np.ndarray, generator: torch.Generator, transform: str) -> Batch:
    """Transform some rows, int64 (n,), to a batch. transform: a name of the registry."""
    part = pictures.take(torch.from_numpy(rows))
    if part.images.dim() == 2:
        images, inside = part.images, torch.zeros(len(part), 0, 0, dtype=torch.bool)
    else:
        images, inside = load_transform(transform)(part.images, masks(part.box, *part.images.shape[2:]), generator)
    return Batch(as_input(images), inside, part.label, part.group, part.kind, part.sample_id)


def steps_per_epoch(pictures: int, batch_size: int) -> int:
    """Return the number of batches that hold every picture once, none larger than batch_size."""
    return -(-pictures // batch_size)


def epoch_rows(pictures: BoxedPictures, epoch: int, config: TrainConfig, sampler: str = "natural") -> list[np.ndarray]:
    """Return the rows of each batch of an epoch in the sampler's order, int64 each; sizes differ by at most one."""
    rng = rng_for(config.seed, epoch, "train order")
    order = SAMPLERS[sampler](pictures.label.numpy(), pictures.group.numpy(), rng)
    return np.array_split(order, steps_per_epoch(len(pictures), config.batch_size))


def train_batch(
    pictures: BoxedPictures, rows: np.ndarray, step: int, config: TrainConfig, name: str = "train"
) -> Batch:
    """Return the batch of a step of the run; name: of the stream of random numbers that its transform takes."""
    batch = make_batch(pictures, rows, generator_for(config.seed, step, f"{name} transform"), config.transform)
    return replace(batch, row=torch.from_numpy(rows))


def meta_rows(step: int, pictures: int, batch_size: int, seed: int) -> np.ndarray:
    """Return the rows of one step's meta batch, int64 (batch_size,): a stream that cycles through all."""
    start = step * batch_size
    first, last = start // pictures, (start + batch_size - 1) // pictures
    stream = [rng_for(seed, cycle, "meta order").permutation(pictures) for cycle in range(first, last + 1)]
    return np.concatenate(stream)[start - first * pictures :][:batch_size]


def meta_of_kinds(meta: BoxedPictures, kinds: Sequence[int]) -> BoxedPictures:
    """Return the meta pictures of some kinds of the contract, in their order."""
    return meta.take(torch.isin(meta.kind, torch.tensor(kinds, dtype=torch.uint8)).nonzero().squeeze(1))


def kind_counts(meta: BoxedPictures) -> dict[str, int]:
    """Return how many meta pictures there are of each kind, by name."""
    return dict(zip(KINDS, torch.bincount(meta.kind.long(), minlength=len(KINDS)).tolist(), strict=True))
