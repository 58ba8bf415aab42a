"""Move a method's tensors to the device of a step's tensors, so that no step waits for them."""

from __future__ import annotations

import torch
from torch import Tensor

from clp_train.pictures.moving import onto


def beside(values: Tensor, other: Tensor) -> Tensor:
    """Return values in the type of another tensor and on its device; the CPU continues while they are copied."""
    return onto(values.to(other.dtype), other.device)


def widest(values: Tensor, device: torch.device) -> Tensor:
    """Return floats on a device, in their type or, where it has no float64, in float32."""
    try:
        return values.to(device)
    except TypeError:  # what torch raises for a type that a device lacks
        return values.to(device, torch.float32)
