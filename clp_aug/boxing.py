"""BOX: the smallest rectangle around a matte. The shape of the object would leak its label; a rectangle does not."""

from __future__ import annotations

import math

import cv2
import numpy as np

from clp_aug.contract import boxes
from clp_aug.contract.boxes import Box
from clp_aug.contract.schema import EMPTY, FULL, OK, TINY

THRESHOLD = 0.5
FAINT = 0.2  # a matte that never reaches this shows nothing
KEEP = 0.10  # components under this share of the largest are specks
MIN_AREA, MAX_AREA = 0.01, 0.95  # of the picture
MIN_SIDE = 4


def foreground(alpha: np.ndarray) -> np.ndarray:
    """Return the object's pixels, bool (H, W): alpha >= 0.5, else >= half of a faint maximum, without specks.

    alpha: float (H, W) in [0, 1]; NaN counts as 0. Components (8-connected) under 10 % of the largest are left out: a
    stray pixel cannot stretch the box, but legs and wings stay in it.
    """
    alpha = np.nan_to_num(alpha, nan=0.0)
    top = alpha.max(initial=0.0)
    solid = alpha >= (THRESHOLD if top >= THRESHOLD else 0.5 * top if top >= FAINT else np.inf)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(solid.view(np.uint8), connectivity=8)
    if count <= 2:  # background and at most one component
        return solid
    areas = stats[1:, cv2.CC_STAT_AREA]
    kept = np.concatenate([[False], areas >= KEEP * areas.max()])
    return kept[labels]


def enclosing_box(solid: np.ndarray) -> Box | None:
    """Return the smallest half-open box around the True pixels of bool (H, W), or None when there is none."""
    x, y, w, h = cv2.boundingRect(solid.view(np.uint8))
    return (x, y, x + w, y + h) if w and h else None


def judge(box: Box | None, height: int, width: int) -> int:
    """Return the outcome of a box: ok, empty (None), full (over 95 % of the area) or tiny (under 1 %, or 4 px)."""
    if box is None:
        return EMPTY
    x0, y0, x1, y1 = box
    share = max(0, x1 - x0) * max(0, y1 - y0) / (height * width)
    if share > MAX_AREA:
        return FULL
    shortest, floor = min(x1 - x0, y1 - y0), min(MIN_SIDE, height, width)
    return TINY if share < MIN_AREA or shortest < floor else OK


def cut_to_gate(box: Box, matte: np.ndarray) -> Box | None:
    """Return a full box with one side moved in, or None if the picture is so small that nothing usable is left.

    matte: uint8 (H, W). The side moves in until a strip beside it is free across the whole picture, at least 5 % of the
    picture's side and 2 pixels thick: counterfactuals are filled from such a strip. The side that loses least of the
    matte is moved; among equals the side that cuts off least area, then the first of top, bottom, left, right. Source:
    ours; docs/explanation/measurements.md.
    """
    height, width = matte.shape
    x0, y0, x1, y1 = box
    down, across = (max(2, math.ceil(boxes.MIN_STRIP * side)) for side in (height, width))
    smaller = (
        (x0, max(y0, down), x1, y1),
        (x0, y0, x1, min(y1, height - down)),
        (max(x0, across), y0, x1, y1),
        (x0, y0, min(x1, width - across), y1),
    )
    usable = [one for one in smaller if judge(one, height, width) == OK]

    def kept(one: Box) -> tuple[int, int]:
        left, top, right, bottom = one
        return int(matte[top:bottom, left:right].sum(dtype=np.int64)), int(boxes.area(np.array(one)))

    return max(usable, key=kept, default=None)


def pad(box: Box, pixels: int, height: int, width: int) -> Box:
    """Grow a box by some pixels on each side, clipped to the picture."""
    x0, y0, x1, y1 = box
    return max(0, x0 - pixels), max(0, y0 - pixels), min(width, x1 + pixels), min(height, y1 + pixels)
