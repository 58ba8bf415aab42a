"""The largest background rectangle by area: four strips for one box, a histogram sweep for any mask."""

from __future__ import annotations

import numpy as np

from clp_aug.contract.boxes import Box


def largest_strip(box: Box, height: int, width: int) -> Box | None:
    """Return the largest rectangle that does not touch `box`, or None when the box covers the picture.

    An axis-aligned rectangle disjoint from a box lies wholly above, below, left or right of it, so the largest one
    is a whole strip. Ties go to the first of top, bottom, left, right. O(1).
    """
    x0, y0, x1, y1 = box
    strips = [(0, 0, width, y0), (0, y1, width, height), (0, 0, x0, height), (x1, 0, width, height)]
    best = max(strips, key=lambda s: (s[2] - s[0]) * (s[3] - s[1]))
    return best if (best[2] - best[0]) * (best[3] - best[1]) > 0 else None


def largest_rectangle(free: np.ndarray) -> Box | None:
    """Return the largest all-True rectangle of a mask, bool (H, W), or None when nothing is free. O(HW).

    Row by row, the heights of free columns above form a histogram; a stack of rising bars gives its largest
    rectangle. Ties go to the one found first (top-most, then left-most end).
    """
    height, width = free.shape
    columns = np.zeros(width + 1, np.int64)  # the last bar stays 0 and closes every open one
    best_area, best = 0, None
    for y in range(height):
        columns[:width] = (columns[:width] + 1) * free[y]
        bars: list[tuple[int, int]] = []  # (start column, height), heights rising
        for x, tall in enumerate(columns.tolist()):
            start = x
            while bars and bars[-1][1] > tall:
                start, bar = bars.pop()
                if bar * (x - start) > best_area:
                    best_area, best = bar * (x - start), (start, y + 1 - bar, x, y + 1)
            if not bars or bars[-1][1] < tall:
                bars.append((start, tall))
    return best
