"""The losses of the paper: cross entropy on perturbed logits, the counterfactual loss (3), and checks of losses."""

from __future__ import annotations

import math

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
    "meta": f"raise the batch size, {OFF}, or {REMEDY}",  # it is taken behind a virtual step
}


class DivergedError(ClpError):
    """A loss became NaN or infinite (exit code 3)."""


def check_finite(losses: Tensor, sample_id: Tensor, name: str, step: int, at_start: str = REMEDY) -> None:
    """Raise DivergedError that names the step and the pictures unless every one of losses (n,) is finite.

    at_start: the remedy at step 0.
    """
    finite = losses.isfinite()
    if finite.all():
        return
    ids = sample_id[~finite].tolist()
    samples = ", ".join(map(str, ids[:10])) + (f" and {len(ids) - 10} more" if len(ids) > 10 else "")
    remedy = REMEDY if step else at_start
    raise DivergedError(f"step {step}: the {name} is {losses[~finite][0]:.0f} on samples {samples}; {remedy}")


def check_penalty(penalty: Tensor | None, step: int) -> Tensor | None:
    """Return a method's penalty, a scalar or None. Raises DivergedError that names the step unless it is finite."""
    if penalty is not None and not penalty.isfinite():
        raise DivergedError(f"step {step}: the method's penalty is {penalty:.0f}; {REMEDY if step else AT_START}")
    return penalty


def cross_entropy(logits: Tensor, label: Tensor, delta: Tensor | None = None) -> Tensor:
    """Return CE(S(u + delta), y) of each picture: (n,). logits, delta: (n, C); label: int64 (n,), or soft (n, C)."""
    return F.cross_entropy(logits if delta is None else logits + delta, label, reduction="none")


def counterfactual_loss(logits: Tensor, label: Tensor) -> Tensor:
    """Return eq. (3), -log(1 - p_y), of each picture: (n,) >= 0. logits: (n, C), C >= 2; label: int64 (n,).

    Equals logsumexp over all logits minus logsumexp over j != y, written as one log-sigmoid of their gap: exact for
    tiny p_y, and finite with finite gradients at any gap that the type can hold. The largest of the others is taken off
    first, so that an offset of all logits costs no digits.
    """
    column = label[:, None]
    others = logits.scatter(1, column, -math.inf)
    top = others.amax(1, keepdim=True).detach()
    return -F.logsigmoid((top - logits.gather(1, column)).squeeze(1) + (others - top).logsumexp(1))


def meta_losses(logits: Tensor, label: Tensor, kind: Tensor, delta: Tensor | None = None) -> Tensor:
    """Return l-hat of eq. (7) for each meta picture, (n,): eq. (3) on counterfactuals, cross entropy elsewhere.

    kind: uint8 (n,), the contract's 0 original, 1 counterfactual, 2 factual.
    """
    perturbed = logits if delta is None else logits + delta
    return torch.where(kind == COUNTERFACTUAL, counterfactual_loss(perturbed, label), cross_entropy(perturbed, label))
