"""Random: low-frequency plus high-frequency noise. Paper, section 3.2.1, 2)."""

from __future__ import annotations

import numpy as np

from clp_aug.fills.scene import Materials, Scene

SIGMA = 0.2


def random(scene: Scene, hole: np.ndarray, rng: np.random.Generator, materials: Materials) -> np.ndarray:
    """Return uint8 (n, 3): one uniform colour for the picture, plus N(0, 0.2) a pixel and channel, clipped to [0, 1].

    The paper's "low-frequency noise" is read as one value a channel, as the augmentation's origin does.
    """
    colour = rng.uniform(0, 255, 3).astype(np.float32)
    values = rng.standard_normal((np.count_nonzero(hole), 3), np.float32)
    values *= np.float32(SIGMA * 255)
    values += colour + np.float32(0.5)  # + 0.5: the cast to uint8 truncates
    return np.clip(values, 0, 255, out=values).astype(np.uint8)
