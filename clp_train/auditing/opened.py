"""An opened model of any kind: a function from pictures to logits, and what is known about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from clp_train.models.parts import Classifier

Names = tuple[tuple[str, ...], ...]
"""All names of each logit."""


@dataclass(frozen=True)
class Opened:
    """A model, ready to be asked. Source: ours.

    kind: as `Subject` has it; run: float32 (n, 3, side, side) in [0, 1] on `device` -> logits (n, K), in evaluation
    mode; size: the side that it needs in pixels, None for any; fit: how pictures became square in its training, None
    if unknown; network: for Grad-CAM, None if it is not a torch network; class_names: None if unknown; at_once: the
    only batch size that it takes, None for any; imagenet: whether 1,000 logits are ImageNet's classes; remarks: notes
    for the user, one line each.
    """

    kind: str
    run: Callable[[Tensor], Tensor]
    device: torch.device
    size: int | None = None
    fit: str | None = None
    network: Classifier | None = None
    class_names: Names | None = None
    at_once: int | None = None
    imagenet: bool = False
    remarks: tuple[str, ...] = ()


def resized(images: Tensor, size: int | None) -> Tensor:
    """Return square pictures, float (n, 3, H, H), with sides of `size` pixels; unchanged if `size` is None.

    Bilinear with antialiasing, as torchvision resizes. Source: ours.
    """
    if size is None or images.shape[2:] == (size, size):
        return images
    return F.interpolate(images, (size, size), mode="bilinear", antialias=True)


def of_network(network: Classifier, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Put a classifier onto a device, in evaluation mode and without gradients, in place; return its logits."""
    network.requires_grad_(False).eval().to(device)
    network.to(memory_format=torch.channels_last)  # faster on CPUs
    return lambda images: network(images).logits


def in_parts(run: Callable[[Tensor], Tensor], count: int) -> Callable[[Tensor], Tensor]:
    """Return a function for any number of pictures from one that takes `count`: the last batch repeats its last
    picture.
    """

    def logits(images: Tensor) -> Tensor:
        parts = []
        for part in images.split(count):
            filling = part[-1:].expand(count - len(part), *part.shape[1:])
            parts.append(run(torch.cat([part, filling]))[: len(part)])
        return torch.cat(parts)

    return logits


def name_list(values: object) -> Names | None:
    """Return the class names from a model's file, None for anything but a list of two or more texts."""
    if not isinstance(values, list) or len(values) < 2 or not all(isinstance(name, str) for name in values):
        return None
    return tuple((name,) for name in values)
