"""The inpainting network for one picture and one rectangle on a CPU: the same bits, without unused computations.

Only pixels of the rectangle are used from each stage. So the last layers of both compute only what these pixels need
(`inpaint_region`); the other layers process the whole picture, because of dilation and attention.
"""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from clp_aug.nets.attention_layer import contextual_attention
from clp_aug.nets.inpaint_region import Region, cut, plan, region_of, region_of_all, run_part, run_whole
from clp_aug.nets.layouts import padded
from clp_aug.nets.smooth_fill import smooth_fill

if TYPE_CHECKING:
    from clp_aug.nets.contextual_attention import ContextualAttentionNet, Convolution

Box = tuple[int, int, int, int]
DECODER = 7  # layers of each stage that lead back to the side of the picture


def lone_box(picture: Tensor, hole: Tensor) -> Box | None:
    """Return the hole as x0, y0, x1, y1 if it is a rectangle in one picture and `compared` is true, else None.

    picture: (N, 3, H, W); hole: (N, 1, H, W), hidden above 0.5.
    """
    if hole.shape != (1, 1, *picture.shape[2:]) or picture.shape[0] != 1 or not compared(picture):
        return None
    hidden = hole[0, 0] > 0.5
    rows, columns = (hidden.any(axis).nonzero() for axis in (1, 0))
    if not len(rows):
        return None
    x0, x1, y0, y1 = int(columns[0]), int(columns[-1]) + 1, int(rows[0]), int(rows[-1]) + 1
    return (x0, y0, x1, y1) if hidden[y0:y1, x0:x1].all() else None


def compared(picture: Tensor) -> bool:
    """Return whether parts were tested to equal wholes on a picture's device: float32 by oneDNN on x86-64."""
    backend = torch.backends.mkldnn
    here = picture.device.type == "cpu" and platform.machine().lower() in ("x86_64", "amd64")
    return here and picture.dtype == torch.float32 and backend.is_available() and bool(backend.enabled)


@torch.no_grad()
def fill_box(network: ContextualAttentionNet, picture: Tensor, box: Box) -> Tensor:
    """Return the picture, float32 (1, 3, H, W) in [0, 1], with a box filled: the bits of the network's `forward`."""
    height, width = picture.shape[2:]
    known = network.flipped(picture) * 2 - 1
    part(known, box)[...] = 0  # before padding, because padding repeats the border
    known = padded(known)
    inner = behind_border(box, (height, width), known.shape[2:])
    refined = (network.flipped(refine(network, known, inner)) + 1) / 2
    filled = picture.clone()
    part(filled, box)[...] = refined[:, :, : box[3] - box[1], : box[2] - box[0]]
    return filled


def behind_border(box: Box, before: tuple[int, ...], after: tuple[int, ...]) -> Box:
    """Return a box of an unpadded picture in the padded one: a border is repeated. before, after: height and width."""
    x0, y0, x1, y1 = box
    return x0, y0, after[1] if x1 == before[1] else x1, after[0] if y1 == before[0] else y1


def part(x: Tensor, box: Box) -> Tensor:
    """Return the pixels of a box as a view of x, (N, C, H, W)."""
    x0, y0, x1, y1 = box
    return x[:, :, y0:y1, x0:x1]


def refine(network: ContextualAttentionNet, known: Tensor, box: Box) -> Tensor:
    """Return the output of the second stage in a box, (1, 3, h, w) in [-1, 1].

    known: (1, 3, H, W) in [-1, 1] with sides that are multiples of the stride, 0 in the box.
    """
    height, width = known.shape[2:]
    wanted = region_of(box, height, width)
    room = known.new_empty(network.width * height * width)  # size of the first layer's output, the largest
    mask = torch.zeros_like(known[:, :1])
    part(mask, box)[...] = 1
    sees = known.new_empty((1, 5, height, width)).contiguous(memory_format=torch.channels_last)
    sees[:, :3] = smooth_fill(known, mask) if network.smooth else known
    sees[:, 3], sees[:, 4:] = 1, mask
    inside = part(sees[:, :3], box)

    coarse, merging, pasting = layers_of(network.coarse), layers_of(network.merging), layers_of(network.pasting)
    features = run_whole(coarse[:-DECODER], sees, room)
    picture = draw(coarse[-DECODER:], features, region_of_all(features), wanted, room)
    inside[...] = (inside + picture if network.smooth else picture).clamp(-1, 1)

    features = contextual_attention(run_whole(layers_of(network.matching), sees, room), mask, network.layout)
    whole, needed = region_of_all(features), plan(merging, wanted)[0]
    attended, has = run_part(pasting, features, whole, plan(pasting, needed), room)
    around = run_whole(layers_of(network.hallucination), sees, room)
    features = torch.cat([cut(around, whole, needed), cut(attended, has, needed)], 1)
    picture = draw(merging, features, needed, wanted, room)
    return (inside + picture if network.smooth else picture).clamp(-1, 1)


def layers_of(stack: nn.Sequential) -> list[Convolution]:
    """Return the convolutions of a stack."""
    return cast("list[Convolution]", list(stack))


def draw(layers: list[Convolution], features: Tensor, has: Region, wanted: Region, room: Tensor) -> Tensor:
    """Return a decoder's output in a region of the picture, from features (1, C, h, w) of the region `has`."""
    picture, reaches = run_part(layers, features, has, plan(layers, wanted), room)
    return cut(picture, reaches, wanted)
