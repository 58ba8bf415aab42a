"""AUDIT: some of many pictures, as evenly from classes and groups as they go."""

from __future__ import annotations

import numpy as np

GOLDEN = (5**0.5 - 1) / 2


def spread(strata: np.ndarray, count: int) -> np.ndarray:
    """Return at most `count` indices into strata, int64: each stratum gives its first, then its second, and so on.

    The last round, which may not be for all, is spread over the strata in steps of the golden ratio.
    """
    order = np.argsort(strata, kind="stable")
    _, rank, sizes = np.unique(strata[order], return_inverse=True, return_counts=True)
    turn = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return order[np.lexsort((rank * GOLDEN % 1, turn))[:count]]
