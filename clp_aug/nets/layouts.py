"""The differences between networks trained in PyTorch and in TensorFlow with tensors of the same shapes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

STRIDE = 8  # sides are multiples of it: two halvings, and attention compares at half of that


class Layout(NamedTuple):
    """One way to run the same weights.

    padding: zeros left, right, top and bottom of even sides before a 3 x 3 convolution of stride 2; aligned: nearest
    resizing maps corners to corners, which differs where sides shrink; bgr: the order of the picture's planes.
    """

    padding: tuple[int, int, int, int]
    aligned: bool
    bgr: bool


LAYOUTS = {
    "own": Layout((1, 1, 1, 1), aligned=False, bgr=False),  # trained in PyTorch
    "tf": Layout((0, 1, 0, 1), aligned=True, bgr=True),  # trained in TensorFlow on what OpenCV reads: SAME padding
}


def padded(x: Tensor) -> Tensor:
    """Return x, (N, C, H, W), padded to multiples of STRIDE: the last row and column are repeated, holes too."""
    height, width = x.shape[2:]
    below, right = -height % STRIDE, -width % STRIDE
    return F.pad(x, (0, right, 0, below), mode="replicate") if below or right else x


def resize_nearest(x: Tensor, height: int, width: int, layout: Layout) -> Tensor:
    """Return x, (N, C, h, w), at another size; each pixel is a copy of one of x.

    Own: output i comes from floor(i * in / out). Aligned: from round(i * (in - 1) / (out - 1)), halves away from zero.
    """
    if not layout.aligned:
        return F.interpolate(x, (height, width), mode="nearest")
    rows, columns = aligned_sources(x.shape[2], height), aligned_sources(x.shape[3], width)
    return x.index_select(2, rows.to(x.device)).index_select(3, columns.to(x.device))


def aligned_sources(before: int, after: int) -> Tensor:
    """Return the source, int64 (after,), of each pixel of a side, corners on corners.

    In single precision, like TensorFlow: for 27 of 54 pixels the precision decides the rounding of a half.
    """
    scale = torch.tensor((before - 1) / max(after - 1, 1), dtype=torch.float32)
    return (torch.arange(after) * scale).double().add(0.5).floor().long()
