"""Random: low-frequency plus high-frequency noise. Paper, section 3.2.1, 2)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from clp_aug.contract.boxes import Box
from clp_aug.fills.scene import Materials, Scene, crop

SIGMA = 0.2


@lru_cache(maxsize=1)
def noise_table() -> np.ndarray:
    """Return 65,536 equally likely values of N(0, 0.2) in whole grey levels, int16: drawing is then a look-up."""
    from scipy.special import ndtri

    levels = 1 << 16
    return (ndtri((np.arange(levels) + 0.5) / levels) * SIGMA * 255).round().astype(np.int16)


def random(scene: Scene, window: Box, rng: np.random.Generator, materials: Materials) -> np.ndarray:
    """Return uint8 (h, w, 3): one uniform colour, plus N(0, 0.2) a pixel and channel, clipped to [0, 1].

    The paper's "low-frequency noise" is read as one value a channel, as the augmentation's origin does.
    """
    shape = crop(scene.image, window).shape
    colour = rng.integers(0, 256, 3, np.int16)
    drawn = np.frombuffer(rng.bytes(2 * int(np.prod(shape))), "<u2").reshape(shape)
    values = noise_table().take(drawn)
    values += colour
    return np.clip(values, 0, 255, out=np.empty(shape, np.uint8), casting="unsafe")
