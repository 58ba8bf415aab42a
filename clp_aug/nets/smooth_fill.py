"""A smooth picture in a hole, close to the harmonic one: averages on ever smaller sides, doubled and relaxed again."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

RELAXATIONS = 8  # on each side; what is left of waves as long as the side is the smaller side's work


@torch.no_grad()
def smooth_fill(picture: Tensor, hidden: Tensor) -> Tensor:
    """Return the picture with its hidden pixels filled from the known ones; nothing under the hole is read.

    picture: float (N, C, H, W); hidden: float (N, 1, H, W), 1 hidden, 0 known, one for each picture. Known pixels
    stay; a picture without any becomes 0. Source: ours, after pull-push interpolation (Gortler et al. 1996).
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
    for _ in range(RELAXATIONS):
        filled = torch.where(visible > 0, picture, neighbours(filled))
    return filled


def neighbours(x: Tensor) -> Tensor:
    """Return the mean of each pixel's four neighbours; beyond the border lies the border again."""
    wide = F.pad(x, (1, 1, 1, 1), mode="replicate")
    return (wide[:, :, :-2, 1:-1] + wide[:, :, 2:, 1:-1] + wide[:, :, 1:-1, :-2] + wide[:, :, 1:-1, 2:]) / 4
