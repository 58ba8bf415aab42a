"""refine: finer edges for the mattes that people look at, by PyMatting. Boxes do not change."""

from __future__ import annotations

import cv2
import numpy as np

SURE = (10, 240)  # at most, at least: background and foreground of a uint8 matte that are not looked at again
ERODE = 0.02  # of the side: how far from sure background and sure foreground the edge may lie


def refine(image: np.ndarray, matte: np.ndarray) -> np.ndarray:
    """Return the matte with its edge solved anew in closed form (Levin et al., 2008), uint8 (H, W).

    image: uint8 (H, W, 3) RGB; matte: uint8 (H, W), 255 = foreground. A matte without sure foreground or without sure
    background, that of a box for instance, is returned as it is.
    """
    side = 2 * round(ERODE * len(matte)) + 1
    kernel = np.ones((side, side), np.uint8)
    sure_background, sure_foreground = (
        cv2.erode(part.astype(np.uint8), kernel, borderType=cv2.BORDER_REPLICATE) > 0
        for part in (matte <= SURE[0], matte >= SURE[1])
    )
    if not sure_background.any() or not sure_foreground.any():
        return matte
    from pymatting import estimate_alpha_cf

    trimap = np.where(sure_foreground, 1.0, np.where(sure_background, 0.0, 0.5))
    return (estimate_alpha_cf(image / 255.0, trimap) * 255).round().astype(np.uint8)
