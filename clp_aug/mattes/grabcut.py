"""grabcut: OpenCV's GrabCut (Rother et al. 2004), started from a centred guess instead of a rectangle.

A rectangle start leaves four of five 32-px pictures empty; a mask start with a sure core leaves none. The core's
size decides: with a share of 0.16 the box is worse than the centred box, with 0.4 it is better on three data sets.
"""

from __future__ import annotations

import cv2
import numpy as np

from clp_aug.mattes import About, PictureLike

SIDE = 64  # working resolution: enough pixels for the colour models, few enough to be quick
RING, PROBABLE, CORE = 0.04, 0.90, 0.40  # shares of the side: border ring, probable and sure foreground
NO_RECTANGLE = (0, 0, 0, 0)  # GrabCut ignores it when it starts from a mask
ITERATIONS = 1  # further ones improve no box, and each costs as much as the first


def centred_guess(side: int) -> np.ndarray:
    """Return the start, uint8 (side, side): sure background ring, probable middle, sure core."""
    guess = np.full((side, side), cv2.GC_BGD, np.uint8)
    for share, value in ((1 - 2 * RING, cv2.GC_PR_BGD), (PROBABLE, cv2.GC_PR_FGD), (CORE, cv2.GC_FGD)):
        margin = round(side * (1 - share) / 2)
        guess[margin : side - margin, margin : side - margin] = value
    return guess


class GrabCut:
    """Foreground by colour, assuming that the object is near the centre."""

    about = About("grabcut")

    def find(self, picture: PictureLike) -> np.ndarray:
        """Return a hard matte, float32 (64, 64)."""
        shrinking = picture.size > SIDE
        small = cv2.resize(picture.image, (SIDE, SIDE), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC)
        guess = centred_guess(SIDE)
        models = np.zeros((2, 1, 65))
        cv2.setRNGSeed(picture.sample_id % (1 << 31))  # its k-means uses a generator of the process
        bgr = small[..., ::-1].copy()
        cv2.grabCut(bgr, guess, NO_RECTANGLE, models[0], models[1], ITERATIONS, cv2.GC_INIT_WITH_MASK)
        return np.isin(guess, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.float32)
