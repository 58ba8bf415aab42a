"""Tile: the largest background rectangle, repeated. Paper, section 3.2.1, 4)."""

from __future__ import annotations

import numpy as np

from clp_aug.contract.boxes import Box, usable_strip
from clp_aug.fills.scene import Materials, NoBackground, Scene, crop


def background_rectangle(scene: Scene) -> Box:
    """Return the largest rectangle beside the box. Raises NoBackground if none is wide enough."""
    strip = usable_strip(scene.box, *scene.image.shape[:2])
    if strip is None:
        raise NoBackground
    return strip


def tiled_background(scene: Scene, height: int, width: int) -> np.ndarray:
    """Return (height, width, 3) covered with the scene's largest background rectangle, laid from the origin."""
    strip = crop(scene.image, background_rectangle(scene))
    copies = -(-height // strip.shape[0]), -(-width // strip.shape[1]), 1
    return np.tile(strip, copies)[:height, :width]


def tile(scene: Scene, window: Box, rng: np.random.Generator, materials: Materials) -> np.ndarray:
    """Return uint8 (h, w, 3): the window's part of the picture covered with its largest background rectangle."""
    return crop(tiled_background(scene, *scene.image.shape[:2]), window)
