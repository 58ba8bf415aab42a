"""What the classifier makes of pictures, whole or without their object, in evaluation mode; methods ask for it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from clp_aug.contract.schema import GREY, ORIGINAL
from clp_train.batches import BoxedPictures, Pictures, as_input, masks, meta_of_kinds
from clp_train.data import RunData
from clp_train.models.parts import Output

BATCH = 250

BACKGROUND, LEARNT_BACKGROUND = "background", "learnt background"

Scores = Callable[[str], Output]
"""Stream -> features (N, A) and logits (N, C) of its pictures, in their order. "train"; "meta", the originals; or
BACKGROUND, the training pictures with their objects hidden, for methods that see it; LEARNT_BACKGROUND, the same by
networks that have learnt them, each picture by one that has not seen it, which takes as long as a run.
"""


def scores_of(network: nn.Module, run: RunData, learnt: Callable[[], Output] | None = None) -> Scores:
    """Return what computes the network's features and logits, as it is when asked, of a stream of the run.

    learnt: gives those of LEARNT_BACKGROUND.
    """
    streams = {"train": run.train, "meta": meta_of_kinds(run.meta, (ORIGINAL,)), BACKGROUND: run.background}

    def scores(stream: str) -> Output:
        if stream == BACKGROUND and run.background is None:
            return score_backgrounds(network, run.train)
        if stream == LEARNT_BACKGROUND:
            return learnt()
        return score(network, streams[stream])

    return scores


@torch.no_grad()
def score(network: nn.Module, pictures: Pictures) -> Output:
    """Return features and logits of all pictures, untransformed; the network is left in evaluation mode."""
    network.eval()
    return joined([network(as_input(part)) for part in pictures.images.split(BATCH)])


@torch.no_grad()
def score_backgrounds(network: nn.Module, pictures: BoxedPictures) -> Output:
    """Return the same of pictures (N, 3, H, W), uint8, whose boxes are grey; they are made a few at a time."""
    network.eval()
    parts = zip(pictures.images.split(BATCH), pictures.box.split(BATCH), strict=True)
    return joined([network(as_input(without_object(images, box))) for images, box in parts])


def without_object(images: Tensor, box: Tensor) -> Tensor:
    """Return uint8 pictures (n, 3, H, W) with grey in their boxes, int64 (n, 4), half-open pixels."""
    inside = masks(box, *images.shape[2:])[:, None]
    return torch.where(inside, torch.tensor(GREY, dtype=torch.uint8), images)


def joined(parts: list[Output]) -> Output:
    """Return the parts of a stream as one."""
    return Output(torch.cat([part.features for part in parts]), torch.cat([part.logits for part in parts]))
