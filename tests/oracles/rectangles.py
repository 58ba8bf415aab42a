"""Brute force: try every rectangle."""

import itertools

import numpy as np


def largest_area(free: np.ndarray) -> int:
    """Return the area of the largest all-True rectangle of bool (H, W) by trying all of them."""
    height, width = free.shape
    best = 0
    for y0, x0 in itertools.product(range(height), range(width)):
        for y1, x1 in itertools.product(range(y0 + 1, height + 1), range(x0 + 1, width + 1)):
            if free[y0:y1, x0:x1].all():
                best = max(best, (y1 - y0) * (x1 - x0))
    return best


def compose(image: np.ndarray, causal: np.ndarray, infill: np.ndarray) -> np.ndarray:
    """Eq. (2), pixel by pixel: (1 - r) * x + r * infill."""
    out = np.zeros_like(image)
    for y, x in itertools.product(*map(range, causal.shape)):
        r = int(causal[y, x])
        for c in range(3):
            out[y, x, c] = (1 - r) * int(image[y, x, c]) + r * int(infill[y, x, c])
    return out
