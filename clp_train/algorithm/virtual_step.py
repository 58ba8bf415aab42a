"""VIRTUAL STEP, eq. (8): the weights after an optimiser's next step, and their derivative by the gradient.

Optimisers work elementwise, so the derivative of W_hat by the gradient has one number for each weight.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from clp_aug.contract.errors import SettingError
from clp_train.algorithm.quick_optimisers import LIKE

Weights = Mapping[str, Tensor]
"""Parameters by name."""
Slope = float | Tensor


class Move(NamedTuple):
    """Result of a step. weights: W_hat; slopes: - d W_hat / d gradient of each tensor, elementwise, or one float for
    all of its numbers.
    """

    weights: tuple[Tensor, ...]
    slopes: tuple[Slope, ...]


Moves = Callable[[Weights, Sequence[Tensor]], Move]
"""Weights and their gradients, in the same order -> the result of a step."""


def sgd_moves(rates: Sequence[float], drift: Sequence[Tensor] | None = None) -> Moves:
    """Return eq. (8), W - rate * (gradient + drift). rates: of each weight; drift: momentum and decay, or None."""

    def moves(weights: Weights, gradients: Sequence[Tensor]) -> Move:
        whole = gradients if drift is None else [g + d for g, d in zip(gradients, drift, strict=True)]
        moved = [w - rate * g for w, g, rate in zip(weights.values(), whole, rates, strict=True)]
        return Move(tuple(moved), tuple(rates))

    return moves


def moves_of(optimiser: torch.optim.Optimizer) -> Moves:
    """Return the next step of torch's SGD, Adam or AdamW, with its state and settings at the time of the call.

    The derivative is exact, through both moments of Adam too. The weights must be the optimiser's own parameters.
    Raises SettingError for another optimiser.
    """
    kind = LIKE.get(type(optimiser), type(optimiser))
    if kind not in STEPS:
        names = ", ".join(known.__name__ for known in STEPS)
        reason = f"its step is not known; expected one of {names}"
        raise SettingError("optimiser", kind.__name__, reason, {"virtual": "plain"})
    step = STEPS[kind]

    def moves(weights: Weights, gradients: Sequence[Tensor]) -> Move:
        groups = {w: group for group in optimiser.param_groups for w in group["params"]}
        steps = [
            step(w.detach(), -g if groups[w]["maximize"] else g, groups[w], optimiser.state.get(w, {}))
            for w, g in zip(weights.values(), gradients, strict=True)
        ]
        signs = [-1 if groups[w]["maximize"] else 1 for w in weights.values()]
        slopes = [sign * slope for sign, (_, slope) in zip(signs, steps, strict=True)]
        return Move(tuple(moved for moved, _ in steps), tuple(slopes))

    return moves


def sgd_step(w: Tensor, g: Tensor, group: Mapping[str, Any], state: Mapping[str, Any]) -> tuple[Tensor, Slope]:
    """Return W_hat and its slope for a step of torch.optim.SGD."""
    momentum, slope, buffer = group["momentum"], 1.0, state.get("momentum_buffer")
    g = g + group["weight_decay"] * w
    if momentum:
        direction, of_direction = g, 1.0  # the first step's momentum is the gradient
        if buffer is not None:
            of_direction = 1 - group["dampening"]
            direction = momentum * buffer + of_direction * g
        nesterov = group["nesterov"]
        g = g + momentum * direction if nesterov else direction
        slope = 1 + momentum * of_direction if nesterov else of_direction
    return w - group["lr"] * g, group["lr"] * slope


def adam_step(w: Tensor, g: Tensor, group: Mapping[str, Any], state: Mapping[str, Any]) -> tuple[Tensor, Slope]:
    """Return W_hat and its slope for a step of torch.optim.Adam or AdamW, AMSGrad too.

    With m = b1 m' + (1 - b1) g, v = b2 v' + (1 - b2) g^2 and r = sqrt(v / c2) the step is lr / c1 * m / (r + eps), and

        slope = lr / c1 * { [(1 - b1) b2 v' - (1 - b2) b1 m' g] / (c2 r) + (1 - b1) eps } / (r + eps)^2,

    where the terms with the square of g cancel exactly and are left out, so no digits are lost. Where v is 0, at a
    weight that never had a gradient, the slope is set to 0. Source: ours.
    """
    (b1, b2), lr, eps = group["betas"], group["lr"], group["eps"]
    if group.get("decoupled_weight_decay"):
        w = w * (1 - lr * group["weight_decay"])
    else:
        g = g + group["weight_decay"] * w
    zero = torch.zeros_like(w)
    m_old, v_old = state.get("exp_avg", zero), state.get("exp_avg_sq", zero)
    step = float(state.get("step", 0.0)) + 1
    c1, c2 = 1 - b1**step, 1 - b2**step
    m, v = b1 * m_old + (1 - b1) * g, b2 * v_old + (1 - b2) * g * g
    follows = torch.ones_like(v, dtype=torch.bool)
    if group["amsgrad"]:
        largest = state.get("max_exp_avg_sq", zero)
        follows = v >= largest
        v = torch.where(follows, v, largest)
    has_gradient = v > 0
    r = torch.where(has_gradient, v, 1.0).sqrt() / c2**0.5
    of_both = ((1 - b1) * b2 * v_old - (1 - b2) * b1 * m_old * g) / (c2 * r) + (1 - b1) * eps
    slope = torch.where(follows, of_both, (1 - b1) * (r + eps)) / (r + eps) ** 2
    slope = torch.where(has_gradient, lr / c1 * slope, 0.0)
    return torch.where(has_gradient, w - lr / c1 * m / (r + eps), w), slope


STEPS = {torch.optim.SGD: sgd_step, torch.optim.Adam: adam_step, torch.optim.AdamW: adam_step}
