"""Telea: OpenCV's inpainting by fast marching (Telea 2004), a classical alternative to the inpainting networks."""

from __future__ import annotations

import cv2
import numpy as np

from clp_aug.contract.boxes import Box
from clp_aug.fills.inpainting import hole
from clp_aug.fills.scene import Materials, Scene, crop

RADIUS = 3  # pixels, as in OpenCV's own examples


def telea(scene: Scene, window: Box, rng: np.random.Generator, materials: Materials) -> np.ndarray:
    """Return uint8 (h, w, 3): the window after inpainting. Raises NoBackground if the box covers the picture."""
    hidden, image = hole(scene), scene.image.copy()
    image[hidden] = image[~hidden].mean(0).round()  # OpenCV reads under holes that touch a border of the picture
    return crop(cv2.inpaint(image, hidden.astype(np.uint8), RADIUS, cv2.INPAINT_TELEA), window)
