"""AUDIT: choose some of many pictures, as evenly over classes and groups as possible."""

from __future__ import annotations

import numpy as np

GOLDEN = (5**0.5 - 1) / 2


def spread(strata: np.ndarray, count: int) -> np.ndarray:
    """Return at most `count` indices into strata, int64: each stratum gives its first, then its second, and so on.

    The last round may not reach all strata; it is spread over them in steps of the golden ratio.
    """
    order = np.argsort(strata, kind="stable")
    _, rank, sizes = np.unique(strata[order], return_inverse=True, return_counts=True)
    turn = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return order[np.lexsort((rank * GOLDEN % 1, turn))[:count]]
