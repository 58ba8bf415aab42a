"""Shuffle: the region's pixels in random order. Paper, section 3.2.1, 3)."""

from __future__ import annotations

import cv2
import numpy as np

from clp_aug.contract.boxes import Box
from clp_aug.fills.scene import Materials, Scene, crop

PIXEL = np.uint64(0xFFFFFF)  # the low 24 bits of a number hold one RGB pixel, the high 40 its random key


def permute(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the numbers, uint64 (n,) below 2**24, in random order: sorted under random keys, faster than swapping."""
    keyed = rng.integers(0, 1 << 64, len(pixels), np.uint64)
    keyed &= ~PIXEL
    keyed |= pixels
    keyed.sort()
    keyed &= PIXEL
    return keyed


def shuffle(scene: Scene, window: Box, rng: np.random.Generator, materials: Materials) -> np.ndarray:
    """Return uint8 (h, w, 3): the hole's own pixels permuted, RGB kept together, so their multiset stays."""
    packed = cv2.cvtColor(crop(scene.image, window), cv2.COLOR_RGB2RGBA).view("<u4")[..., 0]  # one number per pixel
    if window == scene.box:
        packed = permute(packed.ravel() & PIXEL, rng).astype("<u4").reshape(packed.shape)
    else:
        hole = ~scene.causal()
        packed[hole] = permute(packed[hole] & PIXEL, rng)
    return cv2.cvtColor(packed[..., None].view(np.uint8), cv2.COLOR_RGBA2RGB)
