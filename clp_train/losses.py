"""The losses of the paper: cross entropy on perturbed logits, the counterfactual loss (3), saliency (6)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from clp_aug.contract.errors import ClpError
from clp_aug.contract.schema import COUNTERFACTUAL
from clp_train.second_order import input_gradient

REMEDY = "lower --lr, with another --out"


class DivergedError(ClpError):
    """A loss became NaN or infinite (exit code 3)."""


def check_finite(losses: Tensor, sample_id: Tensor, what: str, step: int) -> None:
    """Raise DivergedError that names the step and the pictures unless every one of losses (n,) is finite."""
    finite = losses.isfinite()
    if finite.all():
        return
    ids = sample_id[~finite].tolist()
    shown = ", ".join(map(str, ids[:10])) + (f" and {len(ids) - 10} more" if len(ids) > 10 else "")
    raise DivergedError(f"step {step}: the {what} is {losses[~finite][0]:.0f} on samples {shown}; {REMEDY}")


def check_penalty(penalty: Tensor | None, step: int) -> Tensor | None:
    """Return a method's penalty, a scalar or None. Raises DivergedError that names the step unless it is finite."""
    if penalty is not None and not penalty.isfinite():
        raise DivergedError(f"step {step}: the method's penalty is {penalty:.0f}; {REMEDY}")
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
    own = label[:, None]
    others = logits.scatter(1, own, -math.inf)
    top = others.amax(1, keepdim=True).detach()
    return -F.logsigmoid((top - logits.gather(1, own)).squeeze(1) + (others - top).logsumexp(1))


def meta_losses(logits: Tensor, label: Tensor, kind: Tensor, delta: Tensor | None = None) -> Tensor:
    """Return l-hat of eq. (7) for each meta picture, (n,): eq. (3) on counterfactuals, cross entropy elsewhere.

    kind: uint8 (n,), the contract's 0 original, 1 counterfactual, 2 factual.
    """
    perturbed = logits if delta is None else logits + delta
    return torch.where(kind == COUNTERFACTUAL, counterfactual_loss(perturbed, label), cross_entropy(perturbed, label))


def _gap(logits: Tensor, label: Tensor) -> Tensor:
    own = label[:, None]
    return logits.gather(1, own) - logits.scatter(1, own, -math.inf).amax(1, keepdim=True)


SALIENCY_TARGETS = {
    "probability": lambda logits, label: logits.softmax(1).gather(1, label[:, None]),
    "log-probability": lambda logits, label: logits.log_softmax(1).gather(1, label[:, None]),
    "logit": lambda logits, label: logits.gather(1, label[:, None]),
    "logit-gap": _gap,
}
"""What eq. (6) differentiates, each of the picture's own label; "probability" is the paper's."""


def saliency(
    images: Tensor,
    logits: Tensor,
    inside: Tensor,
    label: Tensor,
    target: str,
    scale: str = "mean",
    gradient: Callable[[Tensor, Tensor], Tensor] = input_gradient,
) -> Tensor:
    """Return eq. (6) without lambda for each picture, (n,), differentiable: the mean over background pixels of the
    squared gradient of the target, summed over the channels.

    images: (n, 3, H, W) in [0, 1], requiring gradients, from which logits (n, C) were computed; inside: bool
    (n, H, W), True in the box; scale: "mean" over the background as the paper writes it, or its "sum"; gradient:
    (scalar, images) -> its gradient with a graph. The logits are
    unperturbed, so the term does not depend on Omega. A picture without background gives 0. A counterfactual keeps its
    box and its label y: what stayed there is exactly what must not speak for y. In train mode batch norm ties the
    pictures of a batch together; each gradient is of the batch's sum.
    """
    chosen = SALIENCY_TARGETS[target](logits, label).sum()
    energy = (gradient(chosen, images).square().sum(1) * ~inside).sum((1, 2))
    return energy if scale == "sum" else energy / (~inside).sum((1, 2)).clamp(min=1)


def saliency_weight(weight: float, relative: bool, terms: Tensor, logits: Tensor, label: Tensor) -> float | Tensor:
    """Return what the mean of eq. (6) is multiplied by: lambda, or, relative, lambda times CE over the mean itself.

    Relative, the term enters as large as lambda times the batch's cross entropy, whatever the network's scale; the
    factor is held constant. terms: (n,) of `saliency`; logits: (n, C); label: int64 (n,). Source: ours.
    """
    if not relative:
        return weight
    mean = terms.detach().mean()
    return weight * cross_entropy(logits.detach(), label).mean() / mean if mean > 0 else 0.0
