"""Boxes: half-open integer pixels (x0, y0, x1, y1); True inside a box means causal, everywhere.

Arrays of boxes are int32 (..., 4). The picture is H rows of W pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

Box = tuple[int, int, int, int]
MIN_STRIP = 0.05  # of the picture's shorter side: a thinner strip would only give stripes


def mask(box: Box, height: int, width: int) -> np.ndarray:
    """Return r of eq. (2): bool (H, W), True inside the box."""
    import numpy as np

    x0, y0, x1, y1 = box
    inside = np.zeros((height, width), bool)
    inside[y0:y1, x0:x1] = True
    return inside


def area(boxes: np.ndarray) -> np.ndarray:
    """Return the areas in pixels, int64 (...), of boxes (..., 4); an inverted box has area 0."""
    import numpy as np

    b = np.asarray(boxes, np.int64)
    areas: np.ndarray = np.clip(b[..., 2] - b[..., 0], 0, None) * np.clip(b[..., 3] - b[..., 1], 0, None)
    return areas


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the intersection over union, float64 (...), of boxes (..., 4) pair by pair."""
    import numpy as np

    a, b = np.asarray(a, np.int64), np.asarray(b, np.int64)
    common = area(np.concatenate([np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])], -1))
    shares: np.ndarray = common / np.maximum(area(a) + area(b) - common, 1)
    return shares


def centred(height: int, width: int, share: float = 0.6) -> Box:
    """Return the box about the picture's centre whose sides are `share` of the picture's (at least 1 pixel)."""
    w, h = max(1, round(width * share)), max(1, round(height * share))
    x0, y0 = (width - w) // 2, (height - h) // 2
    return x0, y0, x0 + w, y0 + h


def largest_strip(box: Box, height: int, width: int) -> Box | None:
    """Return the largest rectangle that does not touch `box`, or None when the box covers the picture.

    An axis-aligned rectangle disjoint from a box lies wholly above, below, left or right of it, so the largest one
    is a whole strip. Ties go to the first of top, bottom, left, right. O(1).
    """
    x0, y0, x1, y1 = box
    strips = [(0, 0, width, y0), (0, y1, width, height), (0, 0, x0, height), (x1, 0, width, height)]
    best = max(strips, key=lambda s: (s[2] - s[0]) * (s[3] - s[1]))
    return best if (best[2] - best[0]) * (best[3] - best[1]) > 0 else None


def usable_strip(box: Box, height: int, width: int) -> Box | None:
    """Return the largest strip beside `box`, or None when it is too thin to tile with or there is none.

    It is at least 2 pixels and 5 % of the picture's shorter side wide and high.
    """
    strip = largest_strip(box, height, width)
    thinnest = max(2, MIN_STRIP * min(height, width))
    return strip if strip is not None and min(strip[2] - strip[0], strip[3] - strip[1]) >= thinnest else None
