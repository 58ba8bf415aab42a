"""META STEP: the gradient of the meta loss at the virtual weights, eqs. (8) and (9). Nothing here knows of pictures.

What a method learns (Omega) enters the training loss only behind the logits u(W): L_train = L(u(W), Omega). With
v = d L_meta / d W_hat and u' = d/de u(W + e v) at e = 0, the chain rule needs no second-order graph:

    d L_meta(W_hat(Omega), Omega) / d Omega  =  direct term  -  rate * d/dOmega < dL/du (u, Omega), u' >

with u and u' held constant: a computation of the size of the logits. u' comes from forward-mode differentiation or
from two plain passes. The double backward of the textbook stays as the reference that tests compare with.

Where the loss depends on some weights besides the logits, L(u(W), W, Omega), such as the head's within ISDA's delta,
their own gradient joins the bracket: < dL/dW (u, W, Omega), v >, u and W held constant. And where Omega acts before
the head, u are the features: what is called logits below is what is read of the network's output.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call

from clp_aug.contract.errors import SettingError
from clp_train.algorithm.noise import replay_noise
from clp_train.algorithm.precision import true_float32
from clp_train.algorithm.virtual_step import Moves, Weights, sgd_moves

SMALLEST_NORM = 1e-3
CENTRAL_STEP = 5e-6  # of the norm of the weights: kinks ask for a small step, rounding in float32 for a large one


dual: Callable[[Tensor, Tensor], Tensor] = forward_ad.make_dual
unpack: Callable[[Tensor], Any] = forward_ad.unpack_dual


class HasLogits(Protocol):
    """What a network returns. features: (n, A), the head's input; logits: (n, C)."""

    @property
    def features(self) -> Tensor: ...

    @property
    def logits(self) -> Tensor: ...


def virtual_pass(network: nn.Module, weights: Weights, x: Tensor) -> Any:
    """Return network(x) at other weights; its own weights and batch-norm statistics stay as they are.

    weights: by name; those that are not named are the network's own. Within `same_noise` the network's own noise is
    that of the first pass.
    """
    replay_noise()
    buffers = {name: value.clone() for name, value in network.named_buffers()}
    return functional_call(network, {**weights, **buffers}, (x,))


def logits_of(out: HasLogits) -> Tensor:
    """Read the logits of a network's output: u where Omega acts behind them."""
    return out.logits


def features_of(out: HasLogits) -> Tensor:
    """Read the features of a network's output: u where Omega acts on them."""
    return out.features


Read = Callable[[HasLogits], Tensor]
"""Output of a network -> u."""
Average = Callable[[Sequence[Tensor]], tuple[Tensor, ...]]
"""Gradients of a process -> their mean over all that train together, tensor by tensor."""


def forward_slope(
    network: nn.Module, weights: Weights, direction: Sequence[Tensor], x: Tensor, read: Read = logits_of
) -> Tensor:
    """Return u' = d/de u(W + e v) at e = 0, (n, C), by one forward-mode pass. direction: v, in the weights' order."""
    with torch.no_grad(), true_float32(x.device), forward_ad.dual_level(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's own first use of torch.jit
        duals = {n: dual(w, v) for (n, w), v in zip(weights.items(), direction, strict=True)}
        slope: Tensor | None = unpack(read(virtual_pass(network, duals, x))).tangent
    return x.new_zeros(()) if slope is None else slope


def central_slope(
    network: nn.Module, weights: Weights, direction: Sequence[Tensor], x: Tensor, read: Read = logits_of
) -> Tensor:
    """Return u' by the central difference of two plain passes, in true float32; its error falls with the square of the
    step.

    Raises SettingError for a type whose rounding is larger than the step.
    """
    if torch.finfo(x.dtype).eps > CENTRAL_STEP:
        raise SettingError(
            "hypergradient", "central", f"differences drown in the rounding of {x.dtype}", {"hypergradient": "forward"}
        )
    size = norm_of(weights.values()).clamp(min=SMALLEST_NORM)  # weights may all be zero
    step = CENTRAL_STEP * size / norm_of(direction).clamp(min=1e-30)
    with torch.no_grad(), true_float32(x.device):
        ends = [
            virtual_pass(
                network, {n: w + sign * step * v for (n, w), v in zip(weights.items(), direction, strict=True)}, x
            )
            for sign in (1, -1)
        ]
        return (read(ends[0]) - read(ends[1])) / (2 * step)


def norm_of(tensors: Iterable[Tensor]) -> Tensor:
    """Return the Euclidean norm of all numbers together, a scalar."""
    squares = [values.square().sum() for values in tensors]
    return torch.sqrt(sum(squares[1:], squares[0]))


SLOPES = {"forward": forward_slope, "central": central_slope}


class Hypergradient(NamedTuple):
    """What the exact meta step finds out; all detached.

    gradients: d L_meta(W_hat(Omega), Omega) / d Omega, one tensor for each of Omega; meta_loss: scalar; training: the
    gradient of L_train + penalty at W by weight; cotangent: dL_train/du, (n, C); depends_on_weights: True if L_train
    depends on a weight directly, not only through the logits (e.g. the head in ISDA's delta); direction: v by weight.
    training, cotangent and depends_on_weights let the final step reuse the pass.
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
) -> Hypergradient:
    """Return the gradient of eq. (9) for each tensor of Omega, and what it computes on the way.

    W_hat = W - rate * (d (L_train + penalty) / dW + drift) is plain SGD (eq. 8). weights: those that the virtual step
    moves, by name; rates: the learning rate of each, or another step, such as `moves_of` gives of an optimiser; logits:
    u of images with a graph to them, which is kept; behind: logits -> L_train, a scalar with a graph to Omega; learned:
    Omega; meta_loss: weights -> scalar, to be computed with `virtual_pass`; penalty: a scalar with a graph to the
    weights, free of Omega; drift: momentum and weight decay, beside learning rates only; read: what takes `logits` out
    of the network's output; average: over processes that train together, each with its own part of the gradients of the
    weights; all that is returned is averaged. Nothing is changed in place. Raises ValueError for a drift beside another
    step.
    """
    if callable(rates) and drift is not None:
        raise ValueError("a drift beside a step that has its own; expected learning rates, or no drift")
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
    move = moves(weights, training)
    virtual_weights = {n: w.detach().requires_grad_() for n, w in zip(weights, move.weights, strict=True)}
    direction, direct, loss = meta_gradient(virtual_weights, learned, meta_loss)
    direction = average(direction)
    scaled = [slope * v for slope, v in zip(move.slopes, direction, strict=True)]
    if mode == "reference":
        mixed = torch.autograd.grad(gradients, learned, scaled, retain_graph=True, materialize_grads=True)
    else:
        mixed = mixed_term(network, weights, images, cotangent, weight_gradients, learned, scaled, mode, read)
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
) -> tuple[Tensor, ...]:
    """Return the gradients of outputs, weighted with seeds as in torch.autograd.grad; the graph is kept."""
    return torch.autograd.grad(
        outputs, tuple(weights.values()), seeds, retain_graph=True, create_graph=create_graph, materialize_grads=True
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


def mixed_term(
    network: nn.Module,
    weights: Weights,
    images: Tensor,
    cotangent: Tensor,
    weight_gradients: dict[str, Tensor],
    learned: Sequence[Tensor],
    direction: Sequence[Tensor],
    mode: str,
    read: Read = logits_of,
) -> tuple[Tensor, ...]:
    """Return d/dOmega of < cotangent(Omega), u' > + < weight_gradients(Omega), direction > for each tensor of Omega.

    cotangent, weight_gradients: of `behind_gradients`; direction: v times the learning rates; read: as in
    `hypergradient`.
    """
    slope = SLOPES[mode](network, {n: w.detach() for n, w in weights.items()}, direction, images.detach(), read)
    directions = {n: v for n, v in zip(weights, direction, strict=True) if n in weight_gradients}
    outputs, seeds = (
        [cotangent, *(weight_gradients[n] for n in directions)],
        [slope.expand_as(cotangent), *directions.values()],
    )
    return torch.autograd.grad(outputs, learned, seeds, materialize_grads=True, allow_unused=True)
