"""Keep-colour: a counterfactual against spurious colour. The paper's section 5 names the limit; the fill is ours."""

from __future__ import annotations

import cv2
import numpy as np

from clp_aug.fills.scene import Materials, NoBackground, Scene


def keep_colour(scene: Scene, hole: np.ndarray, rng: np.random.Generator, materials: Materials) -> np.ndarray:
    """Return uint8 (n, 3): another class's object, stretched into the box, in the colours of the one it replaces.

    Colours match by mean and standard deviation a channel: what remains of the old object is its colour alone.
    Raises NoBackground when there is no partner of another class.
    """
    partner = next(materials.partners(scene.label, rng), None)
    if partner is None:
        raise NoBackground
    x0, y0, x1, y1 = scene.box
    u0, v0, u1, v1 = partner.box
    crop = partner.image[v0:v1, u0:u1]
    shrinking = (x1 - x0) * (y1 - y0) < (u1 - u0) * (v1 - v0)
    body = cv2.resize(crop, (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR)
    body = body.reshape(-1, 3).astype(np.float64)
    own = scene.image[y0:y1, x0:x1].reshape(-1, 3).astype(np.float64)
    spread = own.std(0) / np.maximum(body.std(0), 1)  # a flat crop is not amplified
    values = (body - body.mean(0)) * spread + own.mean(0)
    return np.clip(values.round(), 0, 255).astype(np.uint8)
