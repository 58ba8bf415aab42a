"""Checksums of many chunks at once. The oracle goes from word to word; that of `test_blank` is HDF5 itself."""

import numpy as np
import pytest

from clp_aug.contract.checksums import AT_ONCE, BYTES, fletcher32s


def slow(data):
    """Fletcher's two sums with their carries, word by word."""
    low = high = 0
    for word in np.append(data, np.zeros(data.size % 2, np.uint8)).view(">u2").tolist():
        low += word
        high += low
    low, high = ((total - 1) % 65535 + 1 if total else 0 for total in (low, high))
    return high << 16 | low


@pytest.mark.parametrize("seed", range(30))
def test_every_chunk_has_its_own(seed):
    rng = np.random.default_rng(seed)
    chunks = rng.integers(0, 256, (rng.integers(1, 9), rng.integers(1, 1500)), np.uint8)
    chunks[rng.integers(len(chunks))] = rng.choice([0, 255])  # sums at the modulus
    found = fletcher32s(chunks)
    assert found.dtype == np.uint32
    assert found.tolist() == [slow(chunk) for chunk in chunks]


@pytest.mark.parametrize(
    "size", [1, 2, BYTES - 1, BYTES, BYTES + 1, AT_ONCE * BYTES, AT_ONCE * BYTES + 1, 3 * 200 * 200]
)
def test_the_brightest_chunks(size):
    """Partial sums are at their largest."""
    bright = np.full((2, size), 255, np.uint8)
    assert fletcher32s(bright).tolist() == [slow(bright[0])] * 2


def test_rows_of_a_wider_array():
    wide = np.random.default_rng(0).integers(0, 256, (5, 3076), np.uint8)
    assert fletcher32s(wide[:, :3072]).tolist() == [slow(row) for row in wide[:, :3072]]
