"""Numbers of a fit that must be finite. A loss is checked at once or, if the check makes a device wait, later."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import torch
from torch import Tensor

from clp_aug.contract.errors import InputError
from clp_aug.nets.devices import CPU


class StepLoss(NamedTuple):
    """A loss, a scalar, and its step."""

    loss: Tensor
    step: int


_unread: ContextVar[list[StepLoss] | None] = ContextVar("unread", default=None)


@contextmanager
def read_later(losses: list[StepLoss], device: str) -> Iterator[None]:
    """Context in which `check_loss` only adds to a list, for `read`. On the CPU it checks at once, because that is
    cheap.

    device: its kind.
    """
    token = _unread.set(None if device == CPU else losses)
    try:
        yield
    finally:
        _unread.reset(token)


def check_loss(loss: Tensor, step: int) -> None:
    """Raise InputError, with the remedy, if a step's loss, a scalar, is not finite. Within `read_later` it waits."""
    unread = _unread.get()
    if unread is None:
        check_finite([loss], f"step {step}: the loss", first=step == 0)
    else:
        unread.append(StepLoss(loss.detach(), step))


def read(losses: list[StepLoss]) -> None:
    """Check all losses at once and empty the list. Raises InputError for the first that is not finite."""
    if losses and not torch.stack([loss for loss, _ in losses]).isfinite().all():
        for loss, step in losses:
            check_finite([loss], f"step {step}: the loss", first=step == 0)
    losses.clear()


def check_finite(values: Iterable[Tensor], what: str, first: bool = False) -> None:
    """Raise InputError, with the remedy, for NaN or infinity. first: before the first update of the weights."""
    if not all(value.isfinite().all() for value in values):
        remedy = "check the pictures and the start weights" if first else "lower --lr and give another --out"
        raise InputError(f"{what}: NaN or infinity; {remedy}")
