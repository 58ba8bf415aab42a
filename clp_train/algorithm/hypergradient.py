"""META STEP: the gradient of the meta loss at the virtual weights, eqs. (8) and (9). Not specific to pictures.

A method's learned parameters (Omega) enter the training loss only after the logits u(W): L_train = L(u(W), Omega). With
v = d L_meta / d W_hat and u' = d/de u(W + e v) at e = 0, the chain rule needs no second-order graph:

    d L_meta(W_hat(Omega), Omega) / d Omega  =  direct term  -  rate * d/dOmega < dL/du (u, Omega), u' >

with u and u' held constant: this costs as much as a computation on the logits. u' comes from forward-mode
differentiation, from two plain passes, or from one pass besides the pass that gave u. The textbook's double backward is
kept as the reference for tests.

If the loss also depends on some weights directly, L(u(W), W, Omega), such as the head's in ISDA's delta, their own
gradient is added to the bracket: < dL/dW (u, W, Omega), v >, with u and W held constant. If Omega acts before the head,
u is the features: "logits" below means the part of the network's output that `read` returns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from clp_train.algorithm.passes import PassTaken, Read, logits_of
from clp_train.algorithm.slopes import slope_of
from clp_train.algorithm.virtual_step import Moves, Weights, sgd_moves

Average = Callable[[Sequence[Tensor]], tuple[Tensor, ...]]
"""Gradients of one process -> their mean over all processes that train together, tensor by tensor."""


class Hypergradient(NamedTuple):
    """Result of the exact meta step; all tensors are detached.

    gradients: d L_meta(W_hat(Omega), Omega) / d Omega, one tensor for each tensor of Omega; meta_loss: scalar;
    training: the gradient of L_train + penalty at W by weight; cotangent: dL_train/du, (n, C); depends_on_weights: True
    if L_train depends on a weight directly, not only through the logits (for example the head in ISDA's delta);
    direction: v by weight. training, cotangent and depends_on_weights let the final step reuse the pass.
    """

    gradients: tuple[Tensor, ...]
    meta_loss: Tensor
    training: tuple[Tensor, ...]
    cotangent: Tensor
    depends_on_weights: bool
    direction: tuple[Tensor, ...]


def hypergradient(
    network: nn.Module,
    weights: Weights,
    images: Tensor,
    logits: Tensor,
    behind: Callable[[Tensor], Tensor],
    learned: Sequence[Tensor],
    meta_loss: Callable[[Weights], Tensor],
    rates: Sequence[float] | Moves,
    penalty: Tensor | None = None,
    drift: Sequence[Tensor] | None = None,
    mode: str = "central",
    read: Read = logits_of,
    average: Average = tuple,
    taken: PassTaken | None = None,
    spend: bool = False,
) -> Hypergradient:
    """Return the gradient of eq. (9) for each tensor of Omega, and the intermediate results.

    W_hat = W - rate * (d (L_train + penalty) / dW + drift) is plain SGD (eq. 8). weights: those that the virtual step
    moves, by name; rates: the learning rate of each, or another step, such as `moves_of` returns for an optimiser;
    logits: u of images with a graph to them, which is kept; behind: logits -> L_train, a scalar with a graph to Omega;
    learned: Omega; meta_loss: weights -> scalar, to be computed with `virtual_pass`; penalty: a scalar with a graph to
    the weights, independent of Omega; drift: momentum and weight decay, only together with learning rates; read:
    returns the `logits` part of the network's output; average: over processes that train together, each with its own
    part of the gradients of the weights; every returned value is averaged; taken: how the pass of `logits` was made,
    which saves "one-sided" one pass; spend: whether the penalty's graph may be freed, in place, once its gradient is
    known and L_train depends on no weight directly. Nothing else is changed in place. Raises ValueError for a drift
    together with another step.
    """
    if callable(rates) and drift is not None:
        raise ValueError("drift is given, but this step has its own drift; expected learning rates, or no drift")
    moves = rates if callable(rates) else sgd_moves(rates, drift)
    cotangent, weight_gradients = behind_gradients(weights, logits, behind)
    if mode == "reference":
        gradients = gradients_of(weights, behind(logits), create_graph=True)
        training = gradients if penalty is None else add(gradients, gradients_of(weights, penalty))
    else:
        outputs: list[Tensor] = [logits]
        seeds: list[Tensor | None] = [cotangent.detach()]
        if penalty is not None:
            outputs, seeds = [logits, penalty], [cotangent.detach(), None]
        training = gradients_of(weights, outputs, seeds)
        training = tuple(
            g + weight_gradients[n].detach() if n in weight_gradients else g
            for n, g in zip(weights, training, strict=True)
        )
    training = average([g.detach() for g in training])
    if spend and penalty is not None and not weight_gradients:
        give_up_graph(penalty)
    move = moves(weights, training)
    virtual_weights = {n: w.detach().requires_grad_() for n, w in zip(weights, move.weights, strict=True)}
    direction, direct, loss = meta_gradient(virtual_weights, learned, meta_loss)
    direction = average(direction)
    scaled = [slope * v for slope, v in zip(move.slopes, direction, strict=True)]
    if mode == "reference":
        mixed = torch.autograd.grad(gradients, learned, scaled, retain_graph=True, materialize_grads=True)
    else:
        slope = slope_of(mode, network, detached(weights), scaled, images.detach(), read, logits, taken)
        mixed = mixed_term(weights, slope, cotangent, weight_gradients, learned, scaled)
    omega_gradients = average([d - m for d, m in zip(direct, mixed, strict=True)])
    return Hypergradient(omega_gradients, loss, training, cotangent.detach(), bool(weight_gradients), direction)


def behind_gradients(
    weights: Weights, logits: Tensor, behind: Callable[[Tensor], Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return dL/du, (n, C), and dL/dW at constant u by name for the weights that L depends on besides u.

    behind: logits -> L, a scalar. Both have a graph to Omega.
    """
    leaf = logits.detach().requires_grad_()
    cotangent, *gradients = torch.autograd.grad(
        behind(leaf), (leaf, *weights.values()), create_graph=True, allow_unused=True
    )
    return cotangent, {name: g for name, g in zip(weights, gradients, strict=True) if g is not None}


def gradients_of(
    weights: Weights,
    outputs: Tensor | Sequence[Tensor],
    seeds: Tensor | Sequence[Tensor | None] | None = None,
    create_graph: bool = False,
    keep: bool = True,
) -> tuple[Tensor, ...]:
    """Return the gradients of outputs, weighted with seeds as in torch.autograd.grad. keep: keep the graph."""
    return torch.autograd.grad(
        outputs, tuple(weights.values()), seeds, retain_graph=keep, create_graph=create_graph, materialize_grads=True
    )


def add(first: Sequence[Tensor], second: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return the sums, tensor by tensor."""
    return tuple(a + b for a, b in zip(first, second, strict=True))


def meta_gradient(
    virtual_weights: Weights, learned: Sequence[Tensor], meta_loss: Callable[[Weights], Tensor]
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], Tensor]:
    """Return v = d L_meta / d W_hat, the direct term d L_meta / d Omega, and the meta loss, detached."""
    loss = meta_loss(virtual_weights)
    gradients = torch.autograd.grad(
        loss, (*virtual_weights.values(), *learned), materialize_grads=True, allow_unused=True
    )
    return gradients[: len(virtual_weights)], gradients[len(virtual_weights) :], loss.detach()


def give_up_graph(scalar: Tensor) -> None:
    """Free a scalar's graph in place, for everyone who holds the scalar; leaves and views do not change."""
    if scalar.grad_fn is not None and scalar._base is None:
        scalar.detach_()


def detached(weights: Weights) -> dict[str, Tensor]:
    """Return weights without their graphs, by name."""
    return {name: w.detach() for name, w in weights.items()}


def mixed_term(
    weights: Weights,
    slope: Tensor,
    cotangent: Tensor,
    weight_gradients: dict[str, Tensor],
    learned: Sequence[Tensor],
    direction: Sequence[Tensor],
) -> tuple[Tensor, ...]:
    """Return d/dOmega of < cotangent(Omega), u' > + < weight_gradients(Omega), direction > for each tensor of Omega.

    slope: u', (n, C), along direction, which is v times the learning rates; cotangent, weight_gradients: of
    `behind_gradients`.
    """
    directions = {n: v for n, v in zip(weights, direction, strict=True) if n in weight_gradients}
    outputs, seeds = (
        [cotangent, *(weight_gradients[n] for n in directions)],
        [slope.expand_as(cotangent), *directions.values()],
    )
    return torch.autograd.grad(outputs, learned, seeds, materialize_grads=True, allow_unused=True)
