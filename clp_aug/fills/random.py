"""Random: low-frequency plus high-frequency noise. Paper, section 3.2.1, 2)."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import cv2
import numpy as np

from clp_aug.contract.boxes import Box
from clp_aug.fills.scene import Materials, Scene, crop

SIGMA = 0.2
TABLE, FARTHEST = 1 << 16, 255  # number of values, and a grey level that none of them reaches


@lru_cache(maxsize=1)
def noise_table() -> np.ndarray:
    """Return 65,536 equally likely values of N(0, 0.2) in whole grey levels, int16: so drawing is a look-up."""
    levels = np.arange(-FARTHEST, FARTHEST + 1)
    edges = [(1 + math.erf((level + 0.5) / (SIGMA * 255 * math.sqrt(2)))) / 2 for level in levels.tolist()]
    below = np.ceil(np.array(edges) * TABLE - 0.5).astype(np.int64)  # number of the table's values up to each level
    return np.repeat(levels, np.diff(below, prepend=0)).astype(np.int16)


def random(scene: Scene, window: Box, rng: np.random.Generator, materials: Materials) -> np.ndarray:
    """Return uint8 (h, w, 3): one uniform colour, plus N(0, 0.2) per pixel and channel, clipped to [0, 1].

    The paper's "low-frequency noise" is read as one value per channel, as in the original source of this augmentation.
    """
    height, width, channels = crop(scene.image, window).shape
    colour = rng.integers(0, 256, channels, np.int16)
    count = height * width * channels
    drawn = rng.integers(0, 1 << 64, -(-count // 4), np.uint64)  # as many bytes as `rng.bytes` gives, and the same
    values = noise_table().take(drawn.astype("<u8", copy=False).view("<u2")[:count], mode="wrap")
    scalar: Any = (*colour.tolist(), 0)  # OpenCV's type stubs do not have this type
    filled: np.ndarray = cv2.add(values.reshape(height, width, channels), scalar, dtype=cv2.CV_8U)  # it clips
    return filled
