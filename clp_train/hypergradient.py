"""META STEP: the gradient of the meta loss at the virtual weights, eqs. (8) and (9). Nothing here knows of pictures.

What a method learns (Omega) enters the training loss only behind the logits u(W): L_train = L(u(W), Omega). With
v = d L_meta / d W_hat and u' = d/de u(W + e v) at e = 0, the chain rule needs no second-order graph:

    d L_meta(W_hat(Omega), Omega) / d Omega  =  direct term  -  lr * d/dOmega < dL/du (u, Omega), u' >

with u and u' held constant: a computation of the size of the logits. u' comes from forward-mode differentiation or
from two plain passes. The double backward of the textbook stays as the reference that tests compare with.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call

Weights = dict[str, Tensor]
CENTRAL_STEP = 0.01  # of the norm of v: small beside the weights, large beside float32's rounding


def virtual_pass(network: nn.Module, weights: Weights, x: Tensor):
    """Return network(x) at other weights; its own weights and batch-norm statistics stay as they are.

    weights: by name; those that are not named are the network's own.
    """
    buffers = {name: value.clone() for name, value in network.named_buffers()}
    return functional_call(network, {**weights, **buffers}, (x,))


def forward_slope(network: nn.Module, weights: Weights, direction: Sequence[Tensor], x: Tensor) -> Tensor:
    """Return u' = d/de u(W + e v) at e = 0, (n, C), by one forward-mode pass. direction: v, in the weights' order."""
    with torch.no_grad(), forward_ad.dual_level(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's own first use of torch.jit
        duals = {n: forward_ad.make_dual(w, v) for (n, w), v in zip(weights.items(), direction, strict=True)}
        slope = forward_ad.unpack_dual(virtual_pass(network, duals, x).logits).tangent
    return torch.zeros(()) if slope is None else slope


def central_slope(network: nn.Module, weights: Weights, direction: Sequence[Tensor], x: Tensor) -> Tensor:
    """Return u' by the central difference of two plain passes; its error falls with the square of the step."""
    norm = torch.sqrt(sum(v.square().sum() for v in direction)).clamp(min=1e-30)
    step = CENTRAL_STEP / norm
    with torch.no_grad():
        ends = [
            virtual_pass(
                network, {n: w + sign * step * v for (n, w), v in zip(weights.items(), direction, strict=True)}, x
            )
            for sign in (1, -1)
        ]
        return (ends[0].logits - ends[1].logits) / (2 * step)


SLOPES = {"forward": forward_slope, "central": central_slope}
MODES = (*SLOPES, "reference")


def hypergradient(
    network: nn.Module,
    weights: Weights,
    images: Tensor,
    logits: Tensor,
    behind: Callable[[Tensor], Tensor],
    learned: Sequence[Tensor],
    meta_loss: Callable[[Weights], Tensor],
    lr: float,
    constant: Sequence[Tensor] | None = None,
    mode: str = "forward",
) -> tuple[tuple[Tensor, ...], Tensor]:
    """Return d L_meta(W_hat(Omega), Omega) / d Omega for each tensor of Omega, and the meta loss, detached.

    W_hat = W - lr * (d L_train / dW + constant) is plain SGD (eq. 8). weights: those that the virtual step moves, by
    name; logits: u of images with a graph to them, which is kept; behind: logits -> L_train, a scalar with a graph to
    Omega; learned: Omega; meta_loss: weights -> scalar, to be computed with `virtual_pass`; constant: the part of the
    training gradient that is free of Omega. Nothing is changed in place.
    """
    leaf = logits.detach().requires_grad_()
    (cotangent,) = torch.autograd.grad(behind(leaf), leaf, create_graph=True)  # (n, C), with a graph to Omega
    reference = mode == "reference"
    gradients = torch.autograd.grad(
        behind(logits) if reference else logits, tuple(weights.values()), None if reference else cotangent.detach(),
        retain_graph=True, create_graph=reference, materialize_grads=True,
    )  # fmt: skip
    stepped = virtual_step(weights, gradients, constant, lr)
    direction, direct, loss = meta_gradient(stepped, learned, meta_loss)
    if reference:
        mixed = torch.autograd.grad(gradients, learned, direction, retain_graph=True, materialize_grads=True)
    else:
        mixed = mixed_term(network, weights, images, cotangent, learned, direction, mode)
    return tuple(d - lr * m for d, m in zip(direct, mixed, strict=True)), loss


def virtual_step(
    weights: Weights, gradients: Sequence[Tensor], constant: Sequence[Tensor] | None, lr: float
) -> Weights:
    """Return W_hat of eq. (8), leaves that require gradients."""
    shift = gradients if constant is None else [g + c for g, c in zip(gradients, constant, strict=True)]
    return {n: (w - lr * g).detach().requires_grad_() for (n, w), g in zip(weights.items(), shift, strict=True)}


def meta_gradient(
    stepped: Weights, learned: Sequence[Tensor], meta_loss: Callable[[Weights], Tensor]
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], Tensor]:
    """Return v = d L_meta / d W_hat, the direct term d L_meta / d Omega, and the meta loss, detached."""
    loss = meta_loss(stepped)
    found = torch.autograd.grad(loss, (*stepped.values(), *learned), materialize_grads=True, allow_unused=True)
    return found[: len(stepped)], found[len(stepped) :], loss.detach()


def mixed_term(
    network: nn.Module,
    weights: Weights,
    images: Tensor,
    cotangent: Tensor,
    learned: Sequence[Tensor],
    direction: Sequence[Tensor],
    mode: str,
) -> tuple[Tensor, ...]:
    """Return d/dOmega < cotangent(Omega), u' > for each tensor of Omega. cotangent: dL/du (n, C), graph to Omega."""
    slope = SLOPES[mode](network, {n: w.detach() for n, w in weights.items()}, direction, images.detach())
    return torch.autograd.grad(
        cotangent, learned, slope.expand_as(cotangent), materialize_grads=True, allow_unused=True
    )
