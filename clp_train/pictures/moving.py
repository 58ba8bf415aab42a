"""From the memory of the CPU to a device, so that the CPU does not wait for what the device is doing."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from clp_aug.nets.devices import CPU


def onto(values: Tensor, device: torch.device) -> Tensor:
    """Return values on a device; themselves where they lie there.

    From pinned memory, where the device knows it: the copy is in the queue of the device when this returns, behind
    what was put there before.
    """
    if values.device.type == CPU and can_pin(device.type):
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


@functools.cache
def can_pin(kind: str) -> bool:
    """Tell whether memory of the CPU can be pinned for devices of a kind, such as "cuda"."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is None or accelerator.type != kind:
        return False
    try:
        return torch.empty(1).pin_memory().is_pinned()
    except RuntimeError:  # and NotImplementedError, which is one: devices without pinned memory
        return False
