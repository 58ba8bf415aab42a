"""Factuals made inside a training batch: Mix-Rand from the batch, FGSM against the classifier of this step.

The paper makes both "within the same training batch" (section 3.2.1); clp-augment makes them beforehand. The rules
are those of clp_aug.fills: the same partner gives the same pixels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from clp_aug.contract.boxes import MIN_STRIP
from clp_aug.contract.errors import UsageError
from clp_train.models.parts import Classifier
from clp_train.models.untouched import untouched
from clp_train.pictures.moving import onto
from clp_train.pictures.types import masks


def background_strips(box: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return the largest strip beside each box, int64 (n, 4), and whether it is wide enough to tile with, bool (n,).

    box: int64 (n, 4), half-open pixels. If none is wide enough, the strip is the whole picture. The rules are those of
    the contract's `usable_strip`, for all boxes at once, on their device.
    """
    x0, y0, x1, y1 = box.T
    none, right, bottom = torch.zeros_like(x0), torch.full_like(x0, width), torch.full_like(x0, height)
    above, below = (none, none, right, y0), (none, y1, right, bottom)
    before, behind, whole = (none, none, x0, bottom), (x1, none, right, bottom), (none, none, right, bottom)
    strips = torch.stack([torch.stack(strip, 1) for strip in (above, below, before, behind, whole)], 1)  # (n, 5, 4)
    sides = strips[:, :4, 2:] - strips[:, :4, :2]
    best = (sides[..., 0] * sides[..., 1]).argmax(1)  # the first of equal ones
    picture = torch.arange(len(box), device=box.device)
    usable = sides[picture, best].amin(1) >= math.ceil(max(2, MIN_STRIP * min(height, width)))
    return strips[picture, torch.where(usable, best, 4)], usable


def choose_partners(label: Tensor, usable: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return for each picture a random usable one of another class, int64 (n,), and whether there is one, bool (n,).

    label: int64 (n,); usable: bool (n,). All fitting pictures are equally likely; without one, the result is the
    picture's own row.
    """
    n = len(label)
    lots = torch.rand((n, n), generator=generator, dtype=torch.float64)
    turns = onto(lots.argsort(dim=1, descending=True, stable=True), label.device)  # the highest lot first
    fits = (label[:, None] != label) & usable
    first = fits.gather(1, turns).long().argmax(1, keepdim=True)
    ok = fits.any(1)
    return torch.where(ok, turns.gather(1, first).squeeze(1), torch.arange(n, device=label.device)), ok


def tile(images: Tensor, strips: Tensor) -> Tensor:
    """Return pictures (n, 3, H, W) that are covered with their strips, int64 (n, 4), laid from the origin."""
    n, _, height, width = images.shape
    x0, y0, x1, y1 = strips.T[..., None]  # each (n, 1)
    there = images.device
    xs = x0 + torch.arange(width, device=there) % (x1 - x0)
    ys = y0 + torch.arange(height, device=there) % (y1 - y0)
    picture, channel = torch.arange(n, device=there)[:, None, None, None], torch.arange(images.shape[1], device=there)
    return images[picture, channel[:, None, None], ys[:, None, :, None], xs[:, None, None, :]]


def mix_rand(images: Tensor, box: Tensor, label: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Replace each background by the tiled background of a random picture of another class of the batch.

    images: uint8 or float (n, 3, H, W), untransformed; box: int64 (n, 4), half-open pixels; label: int64 (n,). Returns
    new pictures of that type and bool (n,): False for a picture without a wide enough strip of another class; it keeps
    its background. Pixels inside the boxes do not change. Boxes and labels may be on the CPU and the pictures on a
    device; the bool (n,) is on the device of the labels. Source: the paper, section 3.2.1, factual 1).
    """
    height, width = images.shape[2:]
    strips, usable = background_strips(box, height, width)
    partner, ok = choose_partners(label, usable, generator)
    kept, strips, rows, new = (onto(part, images.device) for part in (box, strips[partner], partner, ok))
    keep = masks(kept, height, width) | ~new[:, None, None]
    return torch.where(keep[:, None], images, tile(images[rows], strips)), ok


def fgsm(
    network: Classifier,
    images: Tensor,
    box: Tensor,
    label: Tensor,
    epsilon: float,
    targeted: bool,
    generator: torch.Generator,
) -> Tensor:
    """Move each background by epsilon along the sign of the present classifier's loss gradient.

    images: float (n, 3, H, W) in [0, 1]; box: int64 (n, 4); label: int64 (n,); epsilon: in [0, 1] pixel units;
    targeted: lower the cross entropy of a random other class; else raise the cross entropy of the label. Returns new
    pictures in
    [0, 1], identical inside the boxes. The gradient is taken at the unchanged picture in evaluation mode; the network
    does not change. Raises UsageError if `targeted` and there is only one class. Source: the paper,
    section 3.2.1, factual 2); Goodfellow et al. 2015.
    """
    pixels = images.detach().clone().requires_grad_()
    with untouched(network) as run:
        logits = run(pixels).logits
        goal = other_class(label, logits.shape[1], generator) if targeted else label
        loss = F.cross_entropy(logits, onto(goal, logits.device), reduction="sum")
        (gradient,) = torch.autograd.grad(loss, pixels)
    moved = (images.detach() + (-epsilon if targeted else epsilon) * gradient.sign()).clamp(0, 1)
    inside = masks(onto(box, images.device), *images.shape[2:])
    return torch.where(inside[:, None], images.detach(), moved)


def other_class(label: Tensor, classes: int, generator: torch.Generator) -> Tensor:
    """Return for each label, int64 (n,), another of the classes at random. Raises UsageError if there is only one."""
    if classes < 2:
        raise UsageError("targeted FGSM has only one class, expected at least two; use untargeted FGSM")
    return (label + onto(torch.randint(1, classes, label.shape, generator=generator), label.device)) % classes
