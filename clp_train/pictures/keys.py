"""Randomness by key: the torch generator of a seed, an index and a stage."""

from __future__ import annotations

import torch

from clp_aug.contract.seeds import rng_for


def generator_for(seed: int, index: int, stage: str) -> torch.Generator:
    """Return the torch generator of one key, as `rng_for` is numpy's."""
    return torch.Generator().manual_seed(int(rng_for(seed, index, stage).integers(1 << 63)))
