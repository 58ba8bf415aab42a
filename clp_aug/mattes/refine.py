"""refine: finer edges for the mattes that are kept for viewing, by PyMatting. Boxes do not change."""

from __future__ import annotations

import cv2
import numpy as np

from clp_aug.contract.errors import InputError

SURE = (10, 240)  # sure background of a uint8 matte is at most, sure foreground at least this
ERODE = 0.02  # fraction of the side: how far the edge may be from sure background and sure foreground


def compile_solver() -> None:
    """Import PyMatting.

    Its first import on a machine compiles for a minute or two; later imports use the stored result. Without this call
    every worker would compile. Raises InputError if the result cannot be stored.
    """
    try:
        import pymatting  # noqa: F401
    except RuntimeError as error:
        if "cannot cache" not in str(error):
            raise
        raise InputError(
            "--refine: PyMatting cannot store its compiled code; set NUMBA_CACHE_DIR to a folder that can be written"
        ) from None


def refine(image: np.ndarray, matte: np.ndarray) -> np.ndarray:
    """Return the matte with its edge solved again in closed form (Levin et al., 2008), uint8 (H, W).

    image: uint8 (H, W, 3) RGB; matte: uint8 (H, W), 255 = foreground. A matte without sure foreground or without sure
    background, for example that of a box, is returned unchanged.
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
