"""Tile: the largest background rectangle, repeated. Paper, section 3.2.1, 4)."""

from __future__ import annotations

import cv2
import numpy as np

from clp_aug.contract import boxes
from clp_aug.contract.boxes import Box
from clp_aug.fills.rectangles import largest_rectangle, largest_strip
from clp_aug.fills.scene import Materials, NoBackground, Scene

MIN_SHARE = 0.05  # of the picture's shorter side: a thinner strip would only give stripes


def background_rectangle(hole: np.ndarray) -> Box:
    """Return the largest rectangle outside the hole, bool (H, W). Raises NoBackground when none is wide enough."""
    height, width = hole.shape
    x, y, w, h = cv2.boundingRect(hole.view(np.uint8))
    is_box = w * h == np.count_nonzero(hole)
    found = largest_strip((x, y, x + w, y + h), height, width) if is_box else largest_rectangle(~hole)
    if found is None or min(found[2] - found[0], found[3] - found[1]) < max(2, MIN_SHARE * min(height, width)):
        raise NoBackground
    return found


def repeat(image: np.ndarray, source: Box, height: int, width: int) -> np.ndarray:
    """Cover (height, width, 3) with copies of a rectangle of the image, laid from the picture's origin."""
    x0, y0, x1, y1 = source
    rows = y0 + np.arange(height) % (y1 - y0)
    columns = x0 + np.arange(width) % (x1 - x0)
    return image[rows[:, None], columns]


def tile(scene: Scene, hole: np.ndarray, rng: np.random.Generator, materials: Materials) -> np.ndarray:
    """Return uint8 (n, 3): the hole's part of the picture covered with its largest background rectangle."""
    return repeat(scene.image, background_rectangle(hole), *hole.shape)[hole]


def tiled_background(scene: Scene, height: int, width: int) -> np.ndarray:
    """Return (height, width, 3) covered with the largest background rectangle of a scene. Raises NoBackground."""
    causal = boxes.mask(scene.box, *scene.image.shape[:2])
    return repeat(scene.image, background_rectangle(causal), height, width)
