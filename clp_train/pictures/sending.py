"""Transfer of rows of pictures to a device: they are gathered in pinned memory and copied in a separate queue.

A queue is a stream in torch's words. If a device has only one, copies use that one.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from clp_train.pictures.moving import can_pin
from clp_train.pictures.types import BoxedPictures


@dataclass(frozen=True)
class Lane:
    """A second queue of a device, besides the queue of the step. module: torch's module for this kind of device."""

    module: Any
    queue: Any

    def stamp(self) -> Any:
        """Return an event for the end of everything that is in the queue now."""
        return self.queue.record_event()

    def hand_over(self, values: list[Tensor], done: Any) -> None:
        """Make the current queue wait for an event; the CPU does not wait. The values are kept until then."""
        current = self.module.current_stream(self.queue.device)
        current.wait_event(done)
        for value in values:
            value.record_stream(current)


@dataclass(frozen=True)
class Sent:
    """Pictures in transfer, and the event of their arrival; without a lane they are in the queue of the step."""

    pictures: BoxedPictures
    lane: Lane | None = None
    done: Any = None

    def received(self) -> BoxedPictures:
        """Return the pictures; the device uses them only after their arrival."""
        if self.lane is not None:
            self.lane.hand_over(list(vars(self.pictures).values()), self.done)
        return self.pictures


def lane_of(device: torch.device) -> Lane | None:
    """Return a queue for copies to a device; None if memory cannot be pinned for it, or if it has only one queue."""
    module = torch.get_device_module(device)
    if not can_pin(device.type) or not hasattr(module, "Stream"):
        return None
    return Lane(module, module.Stream(device))


def send(pictures: BoxedPictures, rows: Tensor, device: torch.device, lane: Lane | None = None) -> Sent:
    """Gather rows, int64 (n,), of pictures on the CPU, and queue their copies to a device."""
    pins = can_pin(device.type)
    gathered = [gather(values, rows, pins) for values in vars(pictures).values()]
    with contextlib.nullcontext() if lane is None else lane.module.stream(lane.queue):
        copies = BoxedPictures(*(values.to(device, non_blocking=pins) for values in gathered))
        return Sent(copies) if lane is None else Sent(copies, lane, lane.stamp())


def gather(values: Tensor, rows: Tensor, pins: bool) -> Tensor:
    """Return rows of values on the CPU, in pinned memory or not."""
    if not pins:
        return values[rows]
    return torch.index_select(values, 0, rows, out=pinned((len(rows), *values.shape[1:]), values.dtype))


def pinned(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Return an empty tensor in pinned memory."""
    return torch.empty(shape, dtype=dtype, pin_memory=True)
