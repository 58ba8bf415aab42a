"""The fallback chain: it ends with one box for every picture, and says where the box came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from clp_aug import boxing
from clp_aug.contract.boxes import Box
from clp_aug.contract.errors import InputError
from clp_aug.contract.schema import FALLBACK, OK
from clp_aug.mattes import Matte, PictureLike

TRUSTED = ("given", "centre")  # what the user gave wins over the gates, and the last resort has to


@dataclass(frozen=True)
class Located:
    """One picture's box. source: index into the chain; outcome: of the chosen back end; matte: uint8 (H, W)."""

    box: Box
    source: int
    outcome: int
    matte: np.ndarray


def locate(picture: PictureLike, chain: Sequence[Matte], pad: int = 0) -> Located:
    """Return the box of one picture: from the first back end in the chain whose box is usable.

    What the user gave wins over the gates unless it is empty: a mask of the whole picture stays one. `outcome` says
    why the chosen back end was passed over, or ok. Raises InputError when no back end has a box, which the centred
    one always has.
    """
    size = picture.size
    verdict = OK
    for source, back_end in enumerate(chain):
        finding = back_end.find(picture)
        if finding is None:
            outcome = FALLBACK
        else:
            box, matte = read_finding(finding, size)
            outcome = boxing.judge(box, size, size)
        if source == 0:
            verdict = outcome
        if finding is not None and box is not None and (outcome == OK or back_end.about.name in TRUSTED):
            return Located(boxing.pad(box, pad, size, size), source, verdict, matte)
    raise InputError(f"sample {picture.sample_id}: no matte gave a box")


def read_finding(finding: np.ndarray | Box, size: int) -> tuple[Box | None, np.ndarray]:
    """Return box and uint8 (size, size) matte of what a back end found; a box alone has an empty matte.

    A matte of another resolution is resized as alpha (area when shrinking, bilinear when growing), then boxed.
    """
    if isinstance(finding, tuple):
        return finding, np.zeros((size, size), np.uint8)
    alpha: np.ndarray = np.clip(np.nan_to_num(np.asarray(finding, np.float32), nan=0.0), 0, 1)
    if alpha.shape != (size, size):
        shrinking = alpha.shape[0] > size
        alpha = cv2.resize(alpha, (size, size), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR)
    return boxing.enclosing_box(boxing.foreground(alpha)), (alpha * 255).round().astype(np.uint8)
