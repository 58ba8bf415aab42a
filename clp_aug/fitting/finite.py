"""Numbers of a fit that must be finite. A loss is looked at as it comes or, where a look makes a device wait, later."""

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
    """A loss, a scalar, and the step that it is of."""

    loss: Tensor
    step: int


_unread: ContextVar[list[StepLoss] | None] = ContextVar("unread", default=None)


@contextmanager
def read_later(losses: list[StepLoss], device: str) -> Iterator[None]:
    """Within it, `check_loss` only adds to a list, for `read`. On the CPU, where a look costs nothing, at once.

    device: its kind.
    """
    token = _unread.set(None if device == CPU else losses)
    try:
        yield
    finally:
        _unread.reset(token)


def check_loss(loss: Tensor, step: int) -> None:
    """Raise InputError, saying what to do, when a step's loss, a scalar, is not finite. Within `read_later` not yet."""
    unread = _unread.get()
    if unread is None:
        check_finite([loss], f"step {step}: the loss", first=step == 0)
    else:
        unread.append(StepLoss(loss.detach(), step))


def read(losses: list[StepLoss]) -> None:
    """Look at losses, all at once, and empty the list. Raises InputError for the first that is not finite."""
    if losses and not torch.stack([loss for loss, _ in losses]).isfinite().all():
        for loss, step in losses:
            check_finite([loss], f"step {step}: the loss", first=step == 0)
    losses.clear()


def check_finite(values: Iterable[Tensor], what: str, first: bool = False) -> None:
    """Raise InputError, saying what to do, when there is NaN or infinity. first: nothing was learnt yet."""
    if not all(value.isfinite().all() for value in values):
        remedy = "look at the pictures and the start weights" if first else "lower --lr and give another --out"
        raise InputError(f"{what}: NaN or infinity; {remedy}")
