"""The largest background rectangle by area, of any mask; for one box `contract.boxes.largest_strip` is enough."""

from __future__ import annotations

import numpy as np

from clp_aug.contract.boxes import Box


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
