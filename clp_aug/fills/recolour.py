"""Recolour: a factual against spurious colour. The paper's section 5 names the limit; the fill is ours."""

from __future__ import annotations

import cv2
import numpy as np

from clp_aug.contract.boxes import Box
from clp_aug.fills.scene import Materials, Scene

SATURATION = (0.4, 1.6)


def recolour(scene: Scene, window: Box, rng: np.random.Generator, materials: Materials) -> np.ndarray:
    """Return uint8 (H, W, 3): all hues rotated by one random angle, saturation scaled by one random factor.

    Brightness (V of HSV) stays, so the outline of the object stays; the whole picture changes, including the object.
    """
    hsv = cv2.cvtColor(scene.image, cv2.COLOR_RGB2HSV)
    hue = (hsv[..., 0].astype(np.int64) + rng.integers(180)) % 180  # OpenCV counts hue in steps of 2 degrees
    hsv[..., 0] = hue
    hsv[..., 1] = np.clip(hsv[..., 1] * rng.uniform(*SATURATION), 0, 255)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
