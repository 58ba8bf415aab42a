"""The fallback chain: it gives one box for every picture, and the source of the box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from clp_aug import boxing
from clp_aug.contract.boxes import Box
from clp_aug.contract.errors import InputError
from clp_aug.contract.schema import FALLBACK, FULL, OK
from clp_aug.mattes import Matte, PictureLike

TRUSTED = ("given", "centre")  # these boxes pass the gates: the user's, and the last resort


@dataclass(frozen=True)
class Located:
    """One picture's box. source: index into the chain; outcome: of the chosen back end; matte: uint8 (H, W)."""

    box: Box
    source: int
    outcome: int
    matte: np.ndarray


def locate(picture: PictureLike, chain: Sequence[Matte], pad: int = 0) -> Located:
    """Return the box of one picture, like `locate_all`."""
    return locate_all([picture], chain, pad)[0]


def locate_all(pictures: Sequence[PictureLike], chain: Sequence[Matte], pad: int = 0) -> list[Located]:
    """Return the box of each picture: from the first back end in the chain with a usable box.

    A mask or box of the user passes the gates unless it is empty: a mask of the whole picture is kept. A full box of a
    matte is cut to the gate: it is far better than the box of the next matte. `outcome` is that of the chosen back end:
    ok, full (cut or kept), else the reason why it was not used. Raises InputError if no back end has a box; the centred
    one always has.
    """
    verdicts, located, waiting = [OK] * len(pictures), dict[int, Located](), list(range(len(pictures)))
    for source, back_end in enumerate(chain):
        findings = findings_of(back_end, [pictures[i] for i in waiting])
        for i, finding in zip(waiting, findings, strict=True):
            size = pictures[i].size
            found, matte = (None, np.zeros((size, size), np.uint8)) if finding is None else read_finding(finding, size)
            outcome = FALLBACK if finding is None else boxing.judge(found, size, size)
            if source == 0:
                verdicts[i] = outcome
            trusted = back_end.about.name in TRUSTED
            box = None if found is None else usable_box(found, OK if trusted else outcome, matte, pad)
            if box is not None:
                located[i] = Located(box, source, verdicts[i], matte)
        waiting = [i for i in waiting if i not in located]
        if not waiting:
            return [located[i] for i in range(len(pictures))]
    raise InputError(f"sample {pictures[waiting[0]].sample_id}: no matte gave a box")


def findings_of(back_end: Matte, pictures: Sequence[PictureLike]) -> Sequence[np.ndarray | Box | None]:
    """Return the findings of a back end for each picture, all at once if it can."""
    all_at_once = getattr(back_end, "find_all", None)
    return [back_end.find(picture) for picture in pictures] if all_at_once is None else all_at_once(pictures)


def usable_box(box: Box, outcome: int, matte: np.ndarray, pad: int) -> Box | None:
    """Return a box of that outcome as a run uses it: padded, and cut if it is full; None if it is refused."""
    if outcome not in (OK, FULL):
        return None
    padded = boxing.pad(box, pad, *matte.shape)
    return boxing.cut_to_gate(padded, matte) if outcome == FULL else padded


def read_finding(finding: np.ndarray | Box, size: int) -> tuple[Box | None, np.ndarray]:
    """Return box and uint8 (size, size) matte of a finding; a box without matte has an empty one.

    A matte of another resolution is resized as alpha (area when shrinking, bilinear when growing), then boxed.
    """
    if isinstance(finding, tuple):
        return finding, np.zeros((size, size), np.uint8)
    alpha: np.ndarray = np.clip(np.nan_to_num(np.asarray(finding, np.float32), nan=0.0), 0, 1)
    if alpha.shape != (size, size):
        shrinking = alpha.shape[0] > size
        alpha = cv2.resize(alpha, (size, size), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR)
    return boxing.enclosing_box(boxing.foreground(alpha)), (alpha * 255).round().astype(np.uint8)
