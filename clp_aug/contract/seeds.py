"""Randomness by key, never by position: the same picture gets the same numbers in any order, on any worker."""

from __future__ import annotations

import zlib

import numpy as np


def rng_for(seed: int, sample_id: int, stage: str) -> np.random.Generator:
    """Return the generator of one picture in one stage.

    seed: the run's seed (>= 0); sample_id: the data set's id (>= 0), or an index for things that are drawn once; stage:
    what the numbers are for, e.g. "shuffle/0". Equal keys give equal streams. Source: ours.
    """
    return np.random.default_rng([seed, sample_id, zlib.crc32(stage.encode())])
