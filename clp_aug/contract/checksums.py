"""HDF5's checksum of many chunks at once, fletcher32: two sums of a chunk's big-endian 16-bit words, modulo 65,535.

The second sum counts a word as often as words follow it, itself included. Bytes are summed in pieces of 256 words by
products with fixed weights: every partial sum is a whole number below 2**24, which float32 holds exactly in any order.
"""

from __future__ import annotations

from functools import cache

import numpy as np

WORDS = 256  # of a piece
BYTES = 2 * WORDS
AT_ONCE = 128  # pieces: a product this small runs in the calling thread
MODULUS = 65_535
PLACES = np.array([[256, 0], [1, 0], [0, 256], [0, 1]])  # high and low bytes together: the two sums


@cache
def _weights() -> np.ndarray:
    """Return float32 (512, 4): the weights of bytes in a piece's sum, for high and low bytes, and in its second sum."""
    weights, falling = np.zeros((WORDS, 2, 4), np.float32), np.arange(WORDS, 0, -1)
    weights[:, 0, 0] = weights[:, 1, 1] = 1
    weights[:, 0, 2] = weights[:, 1, 3] = falling
    return weights.reshape(BYTES, 4)


def fletcher32s(chunks: np.ndarray) -> np.ndarray:
    """Return the checksum of each row of uint8 (n, bytes): uint32 (n,)."""
    n, size = chunks.shape
    pieces = -(-size // BYTES)
    if size % BYTES:  # zeros after the end add nothing
        chunks = np.concatenate([chunks, np.zeros((n, pieces * BYTES - size), np.uint8)], axis=1)
    plain, falling = np.moveaxis(_sums(chunks.reshape(n, pieces, BYTES)) @ PLACES, 2, 0)
    behind = -(-size // 2) - WORDS * np.arange(1, pieces + 1)  # words behind each piece; below 0 where it is padded
    sums: np.ndarray = _folded((plain * behind + falling).sum(1)) << np.uint32(16) | _folded(plain.sum(1))
    return sums


def _sums(pieces: np.ndarray) -> np.ndarray:
    """Return the four sums of each piece of uint8 (n, pieces, 512): int64 (n, pieces, 4)."""
    n, count, _ = pieces.shape
    sums = np.empty((n, count, 4), np.int64)
    together, at_once = max(1, AT_ONCE // count), -(-count // -(-count // AT_ONCE))  # parts of equal length
    for first in range(0, n, together):
        for start in range(0, count, at_once):
            part = pieces[first : first + together, start : start + at_once]
            products = part.astype(np.float32).reshape(-1, BYTES) @ _weights()
            sums[first : first + together, start : start + at_once] = products.reshape(*part.shape[:2], 4)
    return sums


def _folded(totals: np.ndarray) -> np.ndarray:
    """Return sums, int64 (n,), modulo 65,535: uint32 (n,). A multiple of it stays 65,535: the carry never makes 0."""
    folded: np.ndarray = np.where(totals > 0, (totals - 1) % MODULUS + 1, 0).astype(np.uint32)
    return folded
