"""A smooth fill of a hole, close to the harmonic one: averages at smaller and smaller sizes, doubled and relaxed."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

RELAXATIONS = 8  # at each size; waves as long as the side are handled at the smaller size


@torch.no_grad()
def smooth_fill(picture: Tensor, hidden: Tensor) -> Tensor:
    """Return the picture with its hidden pixels filled from the known ones; nothing under the hole is read.

    picture: float (N, C, H, W); hidden: float (N, 1, H, W), 1 hidden, 0 known, one for each picture. Known pixels do
    not change; a picture without any becomes 0. Source: ours, after pull-push interpolation (Gortler et al. 1996).
    """
    visible = 1 - hidden
    height, width = picture.shape[2:]
    if height == width == 1:
        return picture * visible
    even = (0, width % 2, 0, height % 2)
    weight = F.avg_pool2d(F.pad(visible, even), 2)
    mean = F.avg_pool2d(F.pad(picture * visible, even), 2) / weight.clamp(min=1e-6)
    smaller = smooth_fill(mean, (weight == 0).to(picture.dtype))
    doubled = F.interpolate(smaller, scale_factor=2, mode="bilinear", align_corners=False)[:, :, :height, :width]
    filled = torch.where(visible > 0, picture, doubled)
    rows, columns = hidden_span(hidden, 2), hidden_span(hidden, 3)
    relax(filled, visible[:, :, rows, columns] > 0, rows, columns)
    return filled


def hidden_span(hidden: Tensor, axis: int) -> slice:
    """Return the smallest part of an axis, 2 or 3, that holds all hidden pixels of float (N, 1, H, W).

    On an accelerator it is the whole axis, because computing it would wait for the device.
    """
    if hidden.device.type != "cpu":
        return slice(0, hidden.shape[axis])
    found = hidden.amax((0, 1, 5 - axis)).nonzero()
    return slice(int(found[0]), int(found[-1]) + 1) if len(found) else slice(0, 0)


def relax(filled: Tensor, known: Tensor, rows: slice, columns: slice) -> None:
    """Replace each unknown pixel of a part by the mean of its four neighbours, in place, `RELAXATIONS` times.

    filled: float (N, C, H, W); known: bool (N, 1, h, w), of the part; the border is repeated outside.
    """
    height, width = filled.shape[2:]
    top, bottom, left, right = rows.start, rows.stop, columns.start, columns.stop
    if not (bottom > top and right > left):
        return
    wide = F.pad(filled, (1, 1, 1, 1), mode="replicate")[:, :, top : bottom + 2, left : right + 2].contiguous()
    inner = wide[:, :, 1:-1, 1:-1]
    above, below = wide[:, :, :-2, 1:-1], wide[:, :, 2:, 1:-1]
    before, behind = wide[:, :, 1:-1, :-2], wide[:, :, 1:-1, 2:]
    ends = [(wide[:, :, 0], wide[:, :, 1], top == 0), (wide[:, :, -1], wide[:, :, -2], bottom == height),
            (wide[..., 0], wide[..., 1], left == 0), (wide[..., -1], wide[..., -2], right == width)]  # fmt: skip
    borders = [(end, beside) for end, beside, at_border in ends if at_border]
    truth = None if filled.device.type == "cpu" and not known.any() else inner.clone()
    total = torch.empty_like(inner, memory_format=torch.contiguous_format)
    for _ in range(RELAXATIONS):
        torch.add(above, below, out=total)
        total.add_(before).add_(behind)
        torch.div(total, 4, out=inner)
        if truth is not None:
            inner.copy_(torch.where(known, truth, inner))
        for end, beside in borders:
            end.copy_(beside)
    filled[:, :, rows, columns] = inner
