"""The batches of a step: which rows, in which order, transformed with their masks."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from clp_aug.contract.seeds import rng_for
from clp_train.pictures.keys import generator_for
from clp_train.pictures.samplers import SAMPLERS
from clp_train.pictures.transforms import load_transform
from clp_train.pictures.types import Batch, BoxedPictures, as_input, masks


def make_batch(pictures: BoxedPictures, rows: np.ndarray, generator: torch.Generator, transform: str) -> Batch:
    """Transform some rows, int64 (n,), into a batch. transform: a name of the registry."""
    return batch_of(pictures.take(torch.from_numpy(rows)), generator, transform)


def batch_of(part: BoxedPictures, generator: torch.Generator, transform: str) -> Batch:
    """Transform pictures into a batch, on their device. transform: a name of the registry."""
    if part.images.dim() == 2:
        images, inside = part.images, torch.zeros(len(part), 0, 0, dtype=torch.bool, device=part.images.device)
    else:
        images, inside = load_transform(transform)(part.images, masks(part.box, *part.images.shape[2:]), generator)
    return Batch(as_input(images), inside, part.label, part.group, part.kind, part.sample_id)


def steps_per_epoch(pictures: int, batch_size: int) -> int:
    """Return the number of batches of at most batch_size that hold every picture once."""
    return -(-pictures // batch_size)


class Labelled(Protocol):
    """What the order of an epoch depends on. label, group: int64 (N,)."""

    @property
    def label(self) -> Tensor: ...

    @property
    def group(self) -> Tensor: ...


def epoch_rows(
    pictures: Labelled, epoch: int, seed: int, batch_size: int, sampler: str = "natural"
) -> list[np.ndarray]:
    """Return the rows of each batch of an epoch in the sampler's order, int64 each; sizes differ by at most one."""
    rng = rng_for(seed, epoch, "train order")
    order = SAMPLERS[sampler](pictures.label.cpu().numpy(), pictures.group.cpu().numpy(), rng)
    return np.array_split(order, steps_per_epoch(len(order), batch_size))


def train_batch(
    pictures: BoxedPictures, rows: np.ndarray, step: int, seed: int, transform: str, stream: str = "train"
) -> Batch:
    """Return the batch of a step of the run; stream: of the random numbers for its transform."""
    return step_batch(pictures.take(torch.from_numpy(rows)), rows, step, seed, transform, stream)


def step_batch(
    part: BoxedPictures, rows: np.ndarray, step: int, seed: int, transform: str, stream: str = "train"
) -> Batch:
    """Return the same for pictures that were selected already; rows: their rows, which stay on the CPU."""
    batch = batch_of(part, generator_for(seed, step, f"{stream} transform"), transform)
    return replace(batch, row=torch.from_numpy(rows))


def meta_rows(step: int, pictures: int, batch_size: int, seed: int) -> np.ndarray:
    """Return the rows of one step's meta batch, int64 (batch_size,), from a stream that cycles through all pictures."""
    start, parts = step * batch_size, []
    for cycle in range(start // pictures, (start + batch_size - 1) // pictures + 1):
        begin = start - cycle * pictures
        parts.append(meta_order(cycle, pictures, seed)[max(0, begin) : begin + batch_size])
    return np.concatenate(parts)


@functools.lru_cache(maxsize=2)
def meta_order(cycle: int, pictures: int, seed: int) -> np.ndarray:
    """Return the order of one pass through the meta set, int64 (pictures,), read-only: steps of a pass share it."""
    order = rng_for(seed, cycle, "meta order").permutation(pictures)
    order.setflags(write=False)
    return order
