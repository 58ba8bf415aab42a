"""Shuffle: the region's pixels in random order. Paper, section 3.2.1, 3)."""

from __future__ import annotations

import numpy as np

from clp_aug.fills.scene import Materials, Scene


def shuffle(scene: Scene, hole: np.ndarray, rng: np.random.Generator, materials: Materials) -> np.ndarray:
    """Return uint8 (n, 3): the hole's own pixels permuted, RGB kept together, so their multiset stays."""
    pixels = scene.image[hole]
    return pixels[rng.permutation(len(pixels))]
