"""Weights of classes by their numbers of pictures."""

from __future__ import annotations

import torch
from torch import Tensor


def effective_weights(counts: Tensor, beta: float) -> Tensor:
    """Return (1 - beta) / (1 - beta^n_c), scaled to a mean of 1 over the classes: float32 (C,); 1 at beta = 0.

    counts: (C,), each 1 or more; beta: in [0, 1). Source: the effective number of Cui et al., CVPR 2019. Computed in
    float64, because 1 - beta^n is a small difference.
    """
    raw = (1 - beta) / (1 - beta ** counts.double())
    return (raw * len(raw) / raw.sum()).float() if beta else torch.ones_like(counts, dtype=torch.float32)
