"""Copies from the CPU's memory to a device, without making the CPU wait for the device."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from clp_aug.nets.devices import CPU


def onto(values: Tensor, device: torch.device) -> Tensor:
    """Return values on a device; the values themselves if they are there already.

    Uses pinned memory if the device supports it: when this returns, the copy is in the device's queue, after earlier
    work.
    """
    if values.device.type == CPU and can_pin(device.type):
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


@functools.cache
def can_pin(kind: str) -> bool:
    """Return whether memory of the CPU can be pinned for devices of a kind, such as "cuda"."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is None or accelerator.type != kind:
        return False
    try:
        return torch.empty(1).pin_memory().is_pinned()
    except RuntimeError:  # and NotImplementedError, which is one: devices without pinned memory
        return False
