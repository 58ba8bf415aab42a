"""One step of Algorithm 1: CHARACTERISTICS -> PERTURB -> META STEP -> final step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clp_train.characteristics import View
from clp_train.config import TrainConfig
from clp_train.data import Batch
from clp_train.hypergradient import Weights, hypergradient, meta_gradient, mixed_term, virtual_pass
from clp_train.losses import check_finite, meta_losses, saliency, saliency_weight
from clp_train.methods.base import Method
from clp_train.models.parts import last_block
from clp_train.objective import objective, sample_losses


@dataclass(frozen=True)
class StepLosses:
    """Means over the batch of one step; None for what it did not compute. saliency: eq. (6) with its weight."""

    train: float
    meta: float | None = None
    saliency: float | None = None


def train_step(
    network: nn.Module,
    method: Method,
    optimiser: torch.optim.SGD,
    batch: Batch,
    meta: Batch | None,
    config: TrainConfig,
    step: int,
) -> StepLosses:
    """Do one step: changes the network, its batch-norm statistics, the optimiser and the method.

    meta: the meta batch, None for a step without a meta step. One real forward pass serves the characteristics, the
    virtual step (8) and the final step (10): all three are at the same weights. Raises DivergedError.
    """
    weights, lr = dict(network.named_parameters()), optimiser.param_groups[0]["lr"]
    with_saliency = on_train(method, config) and step % config.saliency_interval == 0
    out = network(batch.images.requires_grad_(with_saliency))
    constant, penalty = (
        saliency_gradient(out.logits, batch, weights, method, config, step) if with_saliency else (None, None)
    )

    view = View(out.logits.detach(), out.features.detach(), network.head.weight.detach(), batch.label)
    method.observe(view)  # CHARACTERISTICS
    terms = method.terms(view)  # PERTURB
    losses = sample_losses(out.logits, batch.label, terms)
    check_finite(losses, batch.sample_id, "training loss", step)

    scope = {name: weights[name] for name in last_block(network)} if config.meta_scope == "last-block" else weights
    lagged = meta is not None and config.meta_step == "lagged"
    meta_loss = cotangent = before = None
    if meta is not None and not lagged:  # META STEP, eqs. (8) and (9)
        gradients, meta_loss = hypergradient(
            network, scope, batch.images, out.logits, lambda u: objective(u, batch.label, terms), method.learned,
            lambda virtual: meta_objective(network, virtual, method, meta, config, step),
            lr, virtual_constant(scope, constant, optimiser, config), config.hypergradient,
        )  # fmt: skip
        method.update(gradients)
        terms = method.terms(view)
    elif lagged:  # the virtual step is the step: its gradient for Omega follows below
        leaf = out.logits.detach().requires_grad_()
        (cotangent,) = torch.autograd.grad(objective(leaf, batch.label, terms), leaf, create_graph=True)
        before = {name: w.detach().clone() for name, w in scope.items()}

    loss = objective(out.logits, batch.label, terms)  # final step, eq. (10)
    gradients = torch.autograd.grad(loss, tuple(weights.values()))
    for (name, w), gradient in zip(weights.items(), gradients, strict=True):
        w.grad = gradient if constant is None else gradient + constant[name]
    optimiser.step()

    if lagged:
        stepped = {name: w.detach().requires_grad_() for name, w in scope.items()}
        direction, direct, meta_loss = meta_gradient(
            stepped, method.learned, lambda virtual: meta_objective(network, virtual, method, meta, config, step)
        )
        mixed = mixed_term(network, before, batch.images, cotangent, method.learned, direction, config.hypergradient)
        method.update([d - lr * m for d, m in zip(direct, mixed, strict=True)])
    return StepLosses(loss.item(), None if meta_loss is None else meta_loss.item(), penalty)


def on_train(method: Method, config: TrainConfig) -> bool:
    """Tell whether eq. (6) is applied to training pictures."""
    return method.saliency_weight > 0 and config.saliency_on in ("both", "train")


def saliency_gradient(
    logits: Tensor, batch: Batch, weights: Weights, method: Method, config: TrainConfig, step: int
) -> tuple[Weights, float]:
    """Return the gradient of eq. (6) on the training batch by weight, and its value with its weight.

    The logits are unperturbed, so the term is free of Omega: its gradient is taken once, for (8) and for (10).
    """
    terms = saliency(batch.images, logits, batch.inside, batch.label, config.saliency_target, config.saliency_scale)
    check_finite(terms, batch.sample_id, "training saliency", step)
    weight = saliency_weight(method.saliency_weight, config.saliency_relative, terms, logits, batch.label)
    loss = weight * terms.mean()
    found = torch.autograd.grad(loss, tuple(weights.values()), retain_graph=True, materialize_grads=True)
    return dict(zip(weights, found, strict=True)), loss.item()


def virtual_constant(
    scope: Weights, constant: Weights | None, optimiser: torch.optim.SGD, config: TrainConfig
) -> Sequence[Tensor] | None:
    """Return the part of the virtual step's gradient that is free of Omega, in the scope's order.

    Plain SGD as in eq. (8), or, with `virtual_momentum`, with the weight decay and momentum of the real step.
    """
    if not config.virtual_momentum:
        return None if constant is None else [constant[name] for name in scope]
    group = optimiser.param_groups[0]
    parts = []
    for name, w in scope.items():
        part = group["weight_decay"] * w.detach()
        buffer = optimiser.state.get(w, {}).get("momentum_buffer")
        part = part if buffer is None else part + group["momentum"] * buffer
        parts.append(part if constant is None else part + constant[name])
    return parts


def meta_objective(
    network: nn.Module, weights: Weights, method: Method, meta: Batch, config: TrainConfig, step: int
) -> Tensor:
    """Return the bracket of eq. (9) at other weights, a scalar: mean loss by kind plus saliency of the meta batch."""
    with_saliency = method.saliency_weight > 0 and config.saliency_on in ("both", "meta")
    images = meta.images.detach().requires_grad_(with_saliency)
    out = virtual_pass(network, weights, images)
    delta = None
    if config.meta_delta == "paper":
        head = weights.get("head.weight", network.head.weight).detach()
        delta = method.terms(View(out.logits.detach(), out.features.detach(), head, meta.label)).delta
    losses = meta_losses(out.logits, meta.label, meta.kind, delta)
    check_finite(losses, meta.sample_id, "meta loss", step)
    if not with_saliency:
        return losses.mean()
    terms = saliency(images, out.logits, meta.inside, meta.label, config.saliency_target, config.saliency_scale)
    check_finite(terms, meta.sample_id, "meta saliency", step)
    weight = saliency_weight(method.saliency_weight, config.saliency_relative, terms, out.logits, meta.label)
    return losses.mean() + weight * terms.mean()
