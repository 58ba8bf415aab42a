"""Keep-colour: a counterfactual against spurious colour. The paper's section 5 names the limit; the fill is ours."""

from __future__ import annotations

import cv2
import numpy as np

from clp_aug.contract.boxes import Box
from clp_aug.fills.scene import Materials, NoBackground, Scene, crop


def keep_colour(scene: Scene, window: Box, rng: np.random.Generator, materials: Materials) -> np.ndarray:
    """Return uint8 (h, w, 3): another class's object, stretched into the box, in the colours of the one it replaces.

    Colours match by mean and standard deviation per channel: only the colour of the old object remains. Raises
    NoBackground if there is no partner of another class.
    """
    partner = next(materials.partners(scene.label, rng), None)
    if partner is None:
        raise NoBackground
    hidden, body = crop(scene.image, window).astype(np.float64), crop(partner.image, partner.box)
    shrinking = hidden.size < body.size
    size = (hidden.shape[1], hidden.shape[0])
    body = cv2.resize(body, size, interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR).astype(np.float64)
    spread = hidden.std((0, 1)) / np.maximum(body.std((0, 1)), 1)  # a flat crop is not amplified
    values = (body - body.mean((0, 1))) * spread + hidden.mean((0, 1))
    return np.clip(values.round(), 0, 255).astype(np.uint8)
