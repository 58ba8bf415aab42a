"""Grey: every pixel 0.5. Paper, section 3.2.1, 1)."""

from __future__ import annotations

import numpy as np

from clp_aug.contract.boxes import Box
from clp_aug.contract.schema import GREY
from clp_aug.fills.scene import Materials, Scene, crop


def grey(scene: Scene, window: Box, rng: np.random.Generator, materials: Materials) -> np.ndarray:
    """Return uint8 (h, w, 3), all 128."""
    return np.full_like(crop(scene.image, window), GREY)
