"""refine: finer edges for the mattes that people look at, by PyMatting. Boxes do not change."""

from __future__ import annotations

import cv2
import numpy as np

from clp_aug.contract.errors import InputError

SURE = (10, 240)  # at most, at least: background and foreground of a uint8 matte that are not looked at again
ERODE = 0.02  # of the side: how far from sure background and sure foreground the edge may lie


def compile_solver() -> None:
    """Import PyMatting, whose first import on a machine compiles for a minute or two; later ones take what it kept.

    Workers would each compile it for themselves, side by side. Raises InputError where it can be kept nowhere.
    """
    try:
        import pymatting  # noqa: F401
    except RuntimeError as error:
        if "cannot cache" not in str(error):
            raise
        raise InputError(
            "--refine: PyMatting can keep nowhere what it compiles; set NUMBA_CACHE_DIR to a folder that can be written"
        ) from None


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
