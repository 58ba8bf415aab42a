"""Mix-Rand: the tiled background of a picture of another class. Paper, section 3.2.1, factual 1)."""

from __future__ import annotations

import numpy as np

from clp_aug.contract.boxes import Box
from clp_aug.fills.scene import Materials, NoBackground, Scene
from clp_aug.fills.tile import tiled_background


def mix_rand(scene: Scene, window: Box, rng: np.random.Generator, materials: Materials) -> np.ndarray:
    """Return uint8 (H, W, 3) from the first partner of another class whose box leaves background to tile.

    Partners come from the whole meta set in a keyed random order (the paper: from the same batch), and only their
    background is used. Raises NoBackground if no partner has enough background.
    """
    for partner in materials.partners(scene.label, rng):
        try:
            return tiled_background(partner, *scene.image.shape[:2])
        except NoBackground:
            continue
    raise NoBackground
