"""One step of Algorithm 1: CHARACTERISTICS -> PERTURB -> META STEP -> final step."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from clp_train.batches import Batch
from clp_train.characteristics import View
from clp_train.config import TrainConfig
from clp_train.hypergradient import (
    Weights,
    added,
    behind_gradients,
    features_of,
    gradients_of,
    hypergradient,
    logits_of,
    meta_gradient,
    mixed_term,
    virtual_pass,
)
from clp_train.losses import check_finite, check_penalty, meta_losses, saliency, saliency_weight
from clp_train.methods.base import Method
from clp_train.models.parts import Output, evaluating, last_block
from clp_train.objective import Terms, logits_from, objective, sample_losses
from clp_train.optimiser import drift, step_sizes
from clp_train.second_order import second_order


@dataclass(frozen=True)
class StepLosses:
    """Means over the batch of one step; None for what it did not compute.

    saliency: eq. (6) with its weight, of the training batch; of the meta batch where it acts there alone.
    """

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
    progress: float = 0.0,
) -> StepLosses:
    """Do one step: changes the network, its batch-norm statistics, the optimiser and the method.

    meta: the meta batch, None for a step without a meta step; progress: share of the run's epochs that is done. One
    real forward pass serves the characteristics, the virtual step (8) and the final step (10): all three are at the
    same weights. Raises DivergedError.
    """
    weights = {name: w for name, w in network.named_parameters() if w.requires_grad}
    out, term = batch_and_saliency(network, network, weights, batch, "train", method, config, step)
    view = View(
        out.logits.detach(), out.features.detach(), network.head.weight.detach(), batch.label, batch.group, batch.row,
        progress,
    )  # fmt: skip
    method.observe(view)  # CHARACTERISTICS
    penalty = total(term, check_penalty(method.penalty(out, batch, network), step))
    terms = terms_of(method, view, batch)  # PERTURB
    read = logits_of if terms.gate is None else features_of
    u = read(out)  # what Omega acts behind

    def loss_behind(u: Tensor) -> Tensor:
        return objective(logits_from(u, network.head, terms), batch.label, terms)

    losses = sample_losses(logits_from(u, network.head, terms), batch.label, terms)
    check_finite(losses, batch.sample_id, "training loss", step)

    scope = {name: weights[name] for name in last_block(network)} if config.meta_scope == "last-block" else weights
    rates = step_sizes(scope, optimiser)

    found = before = cotangent = beside = of_meta = None

    def meta_loss_at(virtual: Weights) -> Tensor:
        nonlocal of_meta
        loss, of_meta = meta_parts(network, virtual, method, meta, config, step)
        return total(loss, of_meta)

    if meta is not None and config.meta_step == "exact":  # META STEP, eqs. (8) and (9)
        found = hypergradient(
            network, scope, batch.images, u, loss_behind, method.learned, meta_loss_at, rates, penalty,
            drift(scope, optimiser, config), config.hypergradient, read,
        )  # fmt: skip
        method.update(found.gradients)
        terms = terms_of(method, view, batch)
    elif meta is not None:  # lagged: the virtual step is the step, and its gradient for Omega follows below
        cotangent, beside = behind_gradients(scope, u, loss_behind)
        before = {name: w.detach().clone() for name, w in weights.items()}  # the step moves what is not in scope, too

    loss = loss_behind(u)  # final step, eq. (10)
    if found is not None and penalty is not None and len(scope) == len(weights) and not found.beside:
        # both steps share the penalty's gradient: what changed is the part behind the logits
        leaf = u.detach().requires_grad_()
        (now,) = torch.autograd.grad(loss_behind(leaf), leaf)
        gradients = added(found.training, gradients_of(weights, u, now - found.cotangent))
    else:
        gradients = gradients_of(weights, total(loss, penalty))
    for w, gradient in zip(weights.values(), gradients, strict=True):
        w.grad = gradient
    optimiser.step()

    meta_loss = None if found is None else found.meta_loss
    if before is not None:
        stepped = {name: w.detach().requires_grad_() for name, w in scope.items()}
        direction, direct, meta_loss = meta_gradient(stepped, method.learned, meta_loss_at)
        moved = {name: rate * v for name, rate, v in zip(scope, rates, direction, strict=True)}
        scaled = [moved[name] if name in moved else torch.zeros_like(w) for name, w in before.items()]
        mixed = mixed_term(
            network, before, batch.images, cotangent, beside, method.learned, scaled, config.hypergradient, read
        )
        method.update([d - m for d, m in zip(direct, mixed, strict=True)])
    shown = of_meta if term is None else term
    return StepLosses(loss.item(), *(None if part is None else part.item() for part in (meta_loss, shown)))


def terms_of(method: Method, view: View, batch: Batch) -> Terms:
    """Return the method's terms, with the soft labels of a mixed batch."""
    terms = method.terms(view)
    return terms if batch.target is None else replace(terms, target=batch.target)


def total(*parts: Tensor | None) -> Tensor | None:
    """Return the sum of what is there, None for nothing."""
    there = [part for part in parts if part is not None]
    return sum(there[1:], there[0]) if there else None


def batch_and_saliency(
    run: Callable[[Tensor], Output],
    network: nn.Module,
    weights: Weights,
    batch: Batch,
    where: str,
    method: Method,
    config: TrainConfig,
    step: int,
) -> tuple[Output, Tensor | None]:
    """Return run(pictures), and eq. (6) times its weight where it is due, a scalar with a graph to the weights.

    run: the pass of the whole batch, which is that of the network at these weights; where: "train" or "meta". The
    logits are unperturbed, so the term is free of Omega. On a subset the term has a pass of its own.
    """
    due = method.saliency_weight > 0 and config.saliency_on in ("both", where) and step % config.saliency_interval == 0
    if not due:
        return run(batch.images), None
    twice = second_order()
    if config.saliency_subset == 1:
        part, images = batch, batch.images.detach().requires_grad_()
        with twice:
            out = of_part = run(images)
    else:
        out, part = run(batch.images), batch.first(max(2, round(config.saliency_subset * len(batch))))
        images = part.images.detach().requires_grad_()
        with twice:
            of_part = virtual_pass(network, weights, images)
    terms = saliency(
        images, of_part.logits, part.inside, part.label, config.saliency_target, config.saliency_scale,
        twice.input_gradient,
    )  # fmt: skip
    check_finite(terms, part.sample_id, f"{where} saliency", step)
    weight = saliency_weight(method.saliency_weight, config.saliency_relative, terms, of_part.logits, part.label)
    return out, weight * terms.mean()


def meta_objective(
    network: nn.Module, weights: Weights, method: Method, meta: Batch, config: TrainConfig, step: int
) -> Tensor:
    """Return the bracket of eq. (9) at other weights, a scalar: mean loss by kind plus saliency of the meta batch."""
    return total(*meta_parts(network, weights, method, meta, config, step))


def meta_parts(
    network: nn.Module, weights: Weights, method: Method, meta: Batch, config: TrainConfig, step: int
) -> tuple[Tensor, Tensor | None]:
    """Return the parts of that bracket, scalars: mean loss by kind, and saliency with its weight where it is due."""
    with evaluating(network) if config.meta_batch_norm == "running" else nullcontext():
        out, term = batch_and_saliency(
            lambda images: virtual_pass(network, weights, images), network, weights, meta, "meta", method, config, step
        )
    delta = None
    if config.meta_delta == "paper":
        head = weights.get("head.weight", network.head.weight).detach()
        delta = method.terms(View(out.logits.detach(), out.features.detach(), head, meta.label, meta.group)).delta
    losses = meta_losses(out.logits, meta.label, meta.kind, delta)
    check_finite(losses, meta.sample_id, "meta loss", step)
    return losses.mean(), term
