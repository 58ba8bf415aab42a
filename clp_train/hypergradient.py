"""META STEP: the gradient of the meta loss at the virtual weights, eqs. (8) and (9). Nothing here knows of pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call


def virtual_pass(network: nn.Module, weights: dict[str, Tensor], x: Tensor):
    """Return network(x) at other weights; its own weights and batch-norm statistics stay as they are."""
    buffers = {name: value.clone() for name, value in network.named_buffers()}
    return functional_call(network, {**weights, **buffers}, (x,))


def hypergradient(
    network: nn.Module,
    learned: Sequence[Tensor],
    train_loss: Tensor,
    meta_loss: Callable[[dict[str, Tensor]], Tensor],
    lr: float,
    constant: Sequence[Tensor] | None = None,
) -> tuple[tuple[Tensor, ...], Tensor]:
    """Return d L_meta(W_hat(Omega), Omega) / d Omega for each tensor of Omega, and the meta loss, detached.

    W_hat = W - lr * (d train_loss / dW + constant) is plain SGD (eq. 8).
    learned: Omega; train_loss: scalar with graphs to W (kept below the logits) and Omega; meta_loss: weights by name
    -> scalar, to be computed with `virtual_pass`; constant: the part of the training gradient that is free of Omega.
    Nothing is changed in place. Source: chain rule, by double backward: with v = d L_meta / d W_hat,
    direct term - lr * d/dOmega <d train_loss / dW, v>.
    """
    names, weights = zip(*network.named_parameters(), strict=True)
    gradients = torch.autograd.grad(train_loss, weights, create_graph=True)
    shift = gradients if constant is None else [g + c for g, c in zip(gradients, constant, strict=True)]
    virtual = [(w - lr * g).detach().requires_grad_() for w, g in zip(weights, shift, strict=True)]
    loss = meta_loss(dict(zip(names, virtual, strict=True)))
    found = torch.autograd.grad(loss, (*virtual, *learned), materialize_grads=True, allow_unused=True)
    v, direct = found[: len(virtual)], found[len(virtual) :]
    mixed = torch.autograd.grad(gradients, learned, v)
    return tuple(d - lr * m for d, m in zip(direct, mixed, strict=True)), loss.detach()
