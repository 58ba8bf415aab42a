"""The losses of the paper: cross entropy on perturbed logits, the counterfactual loss (3), and checks of losses."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from clp_aug.contract.errors import ClpError
from clp_aug.contract.schema import COUNTERFACTUAL

REMEDY = "lower the learning rate (lr) in a new run"
NOT_THE_RATE = "no weight has moved yet, so the learning rate is not at fault"
AT_START = f"{NOT_THE_RATE}; raise the batch size or give other weights"
OFF = "leave the term out (saliency_lambda 0)"
SALIENCY_AT_START = {
    "train": f"{NOT_THE_RATE}; raise the batch size or {OFF}",
    "meta": f"raise the batch size, {OFF}, or {REMEDY}",  # it is computed after a virtual step
}


class DivergedError(ClpError):
    """A loss became NaN or infinite (exit code 3)."""


class Check(Protocol):
    """A condition of a step; it is checked at once, or later for several steps together."""

    def holds(self) -> Tensor:
        """Return whether it holds: a bool scalar on the device of the losses."""

    def settle(self) -> None:
        """Raise DivergedError unless it holds."""


class FiniteLosses(NamedTuple):
    """Losses of a step that must be finite. losses: (n,), or a scalar; sample_id: int64 (n,), None for a scalar; name:
    of the losses, for the message; at_start: the remedy at step 0.
    """

    losses: Tensor
    sample_id: Tensor | None
    name: str
    step: int
    at_start: str

    def holds(self) -> Tensor:
        """Return whether all are finite."""
        return self.losses.isfinite().all()

    def settle(self) -> None:
        """Raise DivergedError that names the step and the pictures unless all are finite."""
        finite = self.losses.isfinite()
        if finite.all():
            return
        value, where = self.losses[~finite].flatten()[0], ""
        if self.sample_id is not None:
            ids = self.sample_id[~finite].tolist()
            more = f" and {len(ids) - 10} more" if len(ids) > 10 else ""
            where = f" on samples {', '.join(map(str, ids[:10]))}{more}"
        remedy = REMEDY if self.step else self.at_start
        raise DivergedError(f"step {self.step}: the {self.name} is {value:.0f}{where}; {remedy}")


class ExistingLoss(NamedTuple):
    """A loss, a scalar, that is infinite if it does not exist. reason: the message in that case, with the remedy."""

    loss: Tensor
    reason: str

    def holds(self) -> Tensor:
        """Return whether it exists."""
        return ~self.loss.isinf()

    def settle(self) -> None:
        """Raise DivergedError with the reason unless it exists."""
        if self.loss.isinf():
            raise DivergedError(self.reason)


_deferred: ContextVar[list[Check] | None] = ContextVar("deferred", default=None)


@contextmanager
def deferred_checks(checks: list[Check], device: torch.device) -> Iterator[None]:
    """Inside this context, checks are only added to a list, for `settle`, because reading a value makes a device wait.

    On the CPU, where reading costs nothing, they raise at once.
    """
    token = _deferred.set(None if device.type == "cpu" else checks)
    try:
        yield
    finally:
        _deferred.reset(token)


def settle(checks: list[Check]) -> None:
    """Check deferred checks in their order and empty the list. Raises DivergedError for the first that fails."""
    if checks and not torch.stack([check.holds() for check in checks]).all():
        for check in checks:
            check.settle()
    checks.clear()


def check_finite(losses: Tensor, sample_id: Tensor | None, name: str, step: int, at_start: str = REMEDY) -> None:
    """Raise DivergedError, naming the step and the pictures, unless all losses (n,) are finite.

    at_start: the remedy at step 0. Inside `deferred_checks` nothing is raised yet.
    """
    ask(FiniteLosses(losses.detach(), sample_id, name, step, at_start))


def check_exists(loss: Tensor, reason: str) -> None:
    """Raise DivergedError with a reason if a loss, a scalar, is infinite. Inside `deferred_checks` not yet."""
    ask(ExistingLoss(loss.detach(), reason))


def ask(check: Check) -> None:
    """Raise DivergedError if a check fails. Inside `deferred_checks` the check is kept for later."""
    checks = _deferred.get()
    if checks is None:
        check.settle()
    else:
        checks.append(check)


def check_penalty(penalty: Tensor | None, step: int) -> Tensor | None:
    """Return a method's penalty, a scalar or None. Raises DivergedError, naming the step, unless it is finite."""
    if penalty is not None:
        check_finite(penalty, None, "method's penalty", step, AT_START)
    return penalty


def cross_entropy(logits: Tensor, label: Tensor, delta: Tensor | None = None) -> Tensor:
    """Return CE(S(u + delta), y) of each picture: (n,). logits, delta: (n, C); label: int64 (n,), or soft (n, C)."""
    return F.cross_entropy(logits if delta is None else logits + delta, label, reduction="none")


def counterfactual_loss(logits: Tensor, label: Tensor) -> Tensor:
    """Return eq. (3), -log(1 - p_y), of each picture: (n,) >= 0. logits: (n, C), C >= 2; label: int64 (n,).

    Equals logsumexp over all logits minus logsumexp over j != y, written as one log-sigmoid of their gap: exact for
    tiny p_y, and finite with finite gradients at any gap that the type can hold. The largest of the others is
    subtracted first, so an offset of all logits loses no digits.
    """
    column = label[:, None]
    others = logits.scatter(1, column, -math.inf)
    top = others.amax(1, keepdim=True).detach()
    return -F.logsigmoid((top - logits.gather(1, column)).squeeze(1) + (others - top).logsumexp(1))


def chance_loss(logits: Tensor, label: Tensor) -> Tensor:
    """Return the cross entropy of each picture against the uniform distribution over classes: (n,) >= log C.

    logits: (n, C); label: int64 (n,), not used. It is smallest if the picture says nothing about its class. Eq. (3)
    goes further: with two classes, a background that speaks for one class must then speak for the other. Source: ours.
    """
    return logits.logsumexp(1) - logits.mean(1)


COUNTERFACTUAL_LOSSES = {"not-y": counterfactual_loss, "chance": chance_loss}
"""Target of a counterfactual -> its loss, (logits (n, C), label (n,)) -> (n,)."""


def meta_losses(
    logits: Tensor,
    label: Tensor,
    kind: Tensor,
    delta: Tensor | None = None,
    counterfactual: Callable[[Tensor, Tensor], Tensor] = counterfactual_loss,
) -> Tensor:
    """Return l-hat of eq. (7) for each meta picture, (n,): eq. (3) on counterfactuals, cross entropy elsewhere.

    kind: uint8 (n,), the contract's 0 original, 1 counterfactual, 2 factual; counterfactual: the loss that replaces eq.
    (3).
    """
    perturbed = logits if delta is None else logits + delta
    return torch.where(kind == COUNTERFACTUAL, counterfactual(perturbed, label), cross_entropy(perturbed, label))
