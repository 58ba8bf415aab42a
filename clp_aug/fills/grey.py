"""Grey: every pixel 0.5. Paper, section 3.2.1, 1)."""

from __future__ import annotations

import numpy as np

from clp_aug.fills.scene import Materials, Scene

HALF = 128  # 0.5 in [0, 1] is 127.5, which uint8 does not have


def grey(scene: Scene, hole: np.ndarray, rng: np.random.Generator, materials: Materials) -> np.ndarray:
    """Return uint8 (n, 3), all 128."""
    return np.full((np.count_nonzero(hole), 3), HALF, np.uint8)
