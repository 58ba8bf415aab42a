"""The answers of a subject to all pictures of a shard, in one pass that reads a batch of pictures at a time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from clp_aug.common.progress import Watch, unwatched
from clp_aug.contract.errors import InputError
from clp_aug.contract.shards import ShardReader
from clp_aug.nets.devices import CPU
from clp_train.auditing.classes import ClassMap
from clp_train.auditing.opened import resized
from clp_train.auditing.subject import Subject
from clp_train.evaluating.outputs import BATCH, MOST_BYTES, largest_output
from clp_train.models.parts import device_of
from clp_train.pictures.types import as_input

PIXELS = 4 * 224 * 224  # of one batch for a model that is not a torch network
IN_CACHE = 10 << 20
"""Bytes of the largest array of a network's pass on a CPU: a pass that stays in the CPU's caches is twice as fast.

EfficientNet-Lite0 at 160 x 160 on one core: 92 pictures a second in batches of 4, 47 a second in batches of 64.
"""


class Answers(NamedTuple):
    """The answers of a subject to the N pictures of a shard, in the order of /meta/images. Source: ours.

    predicted: int64 (N,), the shard's class of the largest logit, -1 if that logit belongs to no class of the shard;
    of_predicted: float32 (N,) in [0, 1], the probability of that logit; of_label: float32 (N,) in [0, 1], the
    probability of the picture's label, summed over all logits of that class, 0 if the model has none.
    """

    predicted: np.ndarray
    of_predicted: np.ndarray
    of_label: np.ndarray


def ask(subject: Subject, class_map: ClassMap, reader: ShardReader, watch: Watch = unwatched) -> Answers:
    """Ask a subject about every picture of a shard. Only the answers stay in memory, not the pictures.

    Raises InputError for a damaged picture, and for a logit that is NaN; the message names the first row with one.
    """
    label = np.asarray(reader.tables["meta/label"], np.int64)
    index = torch.from_numpy(class_map.index)
    most = at_once(subject, torch.from_numpy(reader.image(0)).permute(2, 0, 1)[None])
    waiting: list[np.ndarray] = []
    found: list[Answers] = []

    def answer(stop: int) -> None:
        start = stop - len(waiting)
        pictures = torch.from_numpy(np.stack(waiting)).permute(0, 3, 1, 2)
        found.append(answers_of(subject.logits(pictures), index, label[start:stop], subject.name, start))
        waiting.clear()

    for row in watch(range(len(reader)), "AUDIT"):
        waiting.append(reader.image(row))
        if len(waiting) == most or row + 1 == len(reader):
            answer(row + 1)
    return Answers(*(np.concatenate(column) for column in zip(*found, strict=True)))


@torch.no_grad()
def at_once(subject: Subject, picture: Tensor) -> int:
    """Return the batch size for pictures like this one, uint8 (1, 3, H, H).

    For a torch network the largest array of its pass decides; on an accelerator its limit is the one of EVALUATE. For
    any other model the number of pixels decides.
    """
    x = resized(as_input(picture), subject.size)
    if subject.network is None:
        return max(1, min(BATCH, PIXELS // x[0, 0].numel()))
    device = device_of(subject.network)
    most = IN_CACHE if device.type == CPU else MOST_BYTES
    return max(1, min(BATCH, most // largest_output(subject.network, x.to(device))))


def answers_of(logits: Tensor, index: Tensor, label: np.ndarray, name: str, start: int) -> Answers:
    """Return the answers for some rows of a shard.

    logits: float32 (n, K); index: int64 (K,), as `ClassMap` has it; label: int64 (n,); name: of the subject; start:
    the first row; both appear in messages. Raises InputError where a probability is NaN.
    """
    shares = logits.softmax(1)
    lost = shares.isnan().any(1).nonzero()[:, 0].tolist()
    if lost:
        raise InputError(
            f"model {name}: its logits are nan or infinite for /meta/images[{start + lost[0]}]; give other weights"
        )
    best = logits.argmax(1)
    of_label = torch.where(index[None] == torch.from_numpy(label)[:, None], shares, 0).sum(1).clamp(max=1)
    of_predicted = shares.gather(1, best[:, None])[:, 0]
    return Answers(index[best].numpy(), of_predicted.numpy(), of_label.numpy())
