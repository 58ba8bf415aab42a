"""META STEP: what happens before and after the classifier's real step. Two forms, eqs. (8) and (9).

Exact, as in Algorithm 1: a virtual step, the gradient of the meta loss for Omega, and then the real step with the
updated Omega. Lagged, ours: the real step also serves as the virtual one, and Omega moves after it. This saves the
virtual step's gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clp_train.algorithm.hypergradient import (
    Average,
    Hypergradient,
    add,
    behind_gradients,
    gradients_of,
    hypergradient,
    meta_gradient,
    mixed_term,
)
from clp_train.algorithm.passes import PassTaken, Read
from clp_train.algorithm.slopes import slope_of
from clp_train.algorithm.virtual_step import Moves, Weights


@dataclass(frozen=True)
class BilevelProblem:
    """What one step learns from. u: where Omega acts, the logits or the features, (n, C) or (n, A), with a graph to the
    weights; loss: u -> L_train with the present terms, a scalar; penalty: a scalar independent of Omega, or None; its
    graph is freed as early as possible.

    weights: all that learn, by name; scope: those that the virtual step moves; moves: the virtual step; learned: Omega;
    meta_loss: weights -> the bracket of eq. (9), a scalar; mode: of `hypergradient`; read: returns u from the network's
    output; average: of gradients, over processes that train together; taken: how the pass that gave u was made, None if
    a difference must make it again.
    """

    network: nn.Module
    images: Tensor
    u: Tensor
    loss: Callable[[Tensor], Tensor]
    penalty: Tensor | None
    weights: Weights
    scope: Weights
    moves: Moves
    learned: Sequence[Tensor]
    meta_loss: Callable[[Weights], Tensor]
    mode: str
    read: Read
    average: Average = tuple
    taken: PassTaken | None = None


class MetaStep:
    """A step without a meta step: it does nothing before or after the real step. meta_loss: a scalar, once known."""

    meta_loss: Tensor | None = None

    def __init__(self, problem: BilevelProblem) -> None:
        self.problem = problem

    def before(self) -> Sequence[Tensor] | None:
        """Return Omega's gradient if Omega moves before the real step, one tensor per tensor of Omega; else None."""
        return None

    def training_gradients(self, loss: Tensor) -> tuple[Tensor, ...]:
        """Return the gradients of loss + penalty for the real step, eq. (10), by weight. Their graph is freed."""
        p = self.problem
        return p.average(gradients_of(p.weights, loss if p.penalty is None else loss + p.penalty, keep=False))

    def after(self) -> Sequence[Tensor] | None:
        """Return Omega's gradient if Omega moves after the real step; else None."""
        return None


class ExactMetaStep(MetaStep):
    """Omega moves first, by the gradient at the virtual weights; the real step then uses the updated Omega."""

    result: Hypergradient

    def before(self) -> Sequence[Tensor]:
        p = self.problem
        self.result = hypergradient(
            p.network, p.scope, p.images, p.u, p.loss, p.learned, p.meta_loss, p.moves, p.penalty, mode=p.mode,
            read=p.read, average=p.average, taken=p.taken, spend=len(p.scope) == len(p.weights),
        )  # fmt: skip
        self.meta_loss = self.result.meta_loss
        return self.result.gradients

    def training_gradients(self, loss: Tensor) -> tuple[Tensor, ...]:
        p = self.problem
        if p.penalty is None or len(p.scope) < len(p.weights) or self.result.depends_on_weights:
            return super().training_gradients(loss)
        # both steps share the penalty's gradient: only the part after the logits has changed
        leaf = p.u.detach().requires_grad_()
        (cotangent,) = torch.autograd.grad(p.loss(leaf), leaf)
        more = p.average(gradients_of(p.weights, p.u, cotangent - self.result.cotangent, keep=False))
        return add(self.result.training, more)


class LaggedMetaStep(MetaStep):
    """The real step also serves as the virtual one; Omega's gradient is taken at the weights after it."""

    def before(self) -> None:
        p = self.problem
        self.cotangent, self.direct = behind_gradients(p.scope, p.u, p.loss)
        self.weights = {name: w.detach().clone() for name, w in p.weights.items()}  # the step moves all of them

    def training_gradients(self, loss: Tensor) -> tuple[Tensor, ...]:
        gradients, p = super().training_gradients(loss), self.problem
        of_scope = [g for name, g in zip(p.weights, gradients, strict=True) if name in p.scope]
        self.slopes = p.moves(p.scope, of_scope).slopes
        return gradients

    def after(self) -> Sequence[Tensor]:
        p = self.problem
        new_weights = {name: w.detach().requires_grad_() for name, w in p.scope.items()}
        direction, direct, self.meta_loss = meta_gradient(new_weights, p.learned, p.meta_loss)
        direction = p.average(direction)
        steps = {name: slope * v for name, slope, v in zip(p.scope, self.slopes, direction, strict=True)}
        scaled = [steps[name] if name in steps else torch.zeros_like(w) for name, w in self.weights.items()]
        slope = slope_of(p.mode, p.network, self.weights, scaled, p.images.detach(), p.read, p.u, p.taken)
        mixed = mixed_term(self.weights, slope, self.cotangent, self.direct, p.learned, scaled)
        return p.average([d - m for d, m in zip(direct, mixed, strict=True)])


META_STEPS = {"exact": ExactMetaStep, "lagged": LaggedMetaStep}
