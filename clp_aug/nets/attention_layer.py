"""Contextual attention: features under a hole are rebuilt from known patches of the same picture."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from clp_aug.nets.layouts import Layout, resize_nearest

RATE = 2  # patches are compared at half the resolution of the features, and pasted at full resolution
PATCH = 3  # side of a patch that is compared
SCALE = 10.0  # of scores before the softmax
SMALLEST_NORM = 1e-4
DENORMAL = 2.0**-126  # weights up to here count as 0: the largest of a query is at least 1 / L


def contextual_attention(features: Tensor, hole: Tensor, layout: Layout) -> Tensor:
    """Return features rebuilt from known patches, (N, C, h, w).

    features: float (N, C, h, w), even sides; hole: the same type (N, 1, H, W), 1 = hidden, each picture its own,
    resized to features and then to half of them. A picture without a known patch gives zeros. Memory: N (h w / 4)^2.
    Source: Yu et al., CVPR 2018, section 4.1, as published in code: only keys are normalised; hidden keys keep a score
    of 0 in the denominator. The batched form is ours.
    """
    height, width = features.shape[2:]
    rows, columns = height // RATE, width // RATE
    small = resize_nearest(features, rows, columns, layout)
    hidden = resize_nearest(resize_nearest(hole, height, width, layout), rows, columns, layout)

    patches = F.unfold(small, PATCH, padding=PATCH // 2)  # N x 9C x L, L = rows * columns
    norms = torch.linalg.vector_norm(patches, dim=1, keepdim=True).clamp(min=SMALLEST_NORM)
    scores = fuse(patches.transpose(1, 2) @ (patches / norms), rows, columns)  # N x L queries x L keys
    valid = 1 - F.max_pool2d(hidden, PATCH, 1, PATCH // 2).flatten(2)  # N x 1 x L: keys without a hidden pixel
    weights = torch.softmax(scores * valid * SCALE, dim=2) * valid
    if not weights.requires_grad:
        weights = F.threshold(weights, DENORMAL, 0, inplace=True)  # a CPU multiplies them many times slower

    side = 2 * RATE
    pasted = F.unfold(features, side, padding=RATE // 2, stride=RATE) @ weights.transpose(1, 2)  # N x 16C x L
    return (
        F.fold(pasted, (height, width), side, padding=RATE // 2, stride=RATE) / RATE**2
    )  # each pixel is in four patches


def fuse(scores: Tensor, rows: int, columns: int) -> Tensor:
    """Return scores, (N, L, L), after fusion: neighbours with the same offset support each other, along x, then y."""
    scores = diagonal_sum(scores)
    grid = scores.unflatten(2, (rows, columns)).unflatten(1, (rows, columns))
    turned = grid.permute(0, 2, 1, 4, 3)  # pixels counted down the columns, of queries and of keys
    fused = diagonal_sum(turned.flatten(3, 4).flatten(1, 2))
    grid = fused.unflatten(2, (columns, rows)).unflatten(1, (columns, rows))
    return grid.permute(0, 2, 1, 4, 3).flatten(3, 4).flatten(1, 2)


def diagonal_sum(scores: Tensor) -> Tensor:
    """Return each score, (N, L, L), plus its two neighbours on the diagonal: a convolution with the 3 x 3 identity."""
    total = scores.clone()
    total[:, 1:, 1:] += scores[:, :-1, :-1]
    total[:, :-1, :-1] += scores[:, 1:, 1:]
    return total
