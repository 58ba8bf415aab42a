"""Algorithm 1 on one page: CHARACTERISTICS -> PERTURB -> META STEP -> final step, then EVALUATE."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clp_train import data
from clp_train.characteristics import View
from clp_train.config import TrainConfig
from clp_train.data import Batch, RunData
from clp_train.hypergradient import hypergradient, virtual_pass
from clp_train.losses import check_finite, cross_entropy, meta_losses, saliency
from clp_train.methods import build_method
from clp_train.methods.base import Method
from clp_train.metrics import Metrics, evaluate
from clp_train.models import build_model

MOMENTUM = 0.9
MILESTONES = (0.6, 0.8)  # of the epochs; the paper's 120 and 160 of 200
LR_DROP = 0.1


@dataclass(frozen=True)
class StepLosses:
    """Means over the batch of one step; None for what it did not compute. saliency: eq. (6) with lambda."""

    train: float
    meta: float | None = None
    saliency: float | None = None


@dataclass(frozen=True)
class Snapshot:
    """A network at the end of one epoch (from 1): its state, detached copies, and its metrics by split."""

    epoch: int
    state: dict[str, Tensor]
    metrics: dict[str, Metrics]


@dataclass(frozen=True)
class Trained:
    """What a run leaves. selected: the epoch with the best val worst group, None without a val split."""

    network: nn.Module
    last: Snapshot
    selected: Snapshot | None
    history: list[dict]


def train(config: TrainConfig, run: RunData, on_step: Callable[[int, StepLosses], None] = lambda *_: None) -> Trained:
    """Train and evaluate one classifier; the same settings give the same weights on a CPU.

    on_step: called after each step with its epoch (from 1) and losses. Raises DivergedError when a loss is not finite.
    """
    classes = len(run.header.class_names)
    train_counts = torch.bincount(run.train.group, minlength=len(run.group_names)).tolist()
    counts = torch.bincount(run.train.label, minlength=classes).float()
    statistics = data.channel_statistics(run.train.images)
    network = build_model(config.model, classes, *statistics, data.generator_for(config.seed, 0, "network"))
    method = build_method(config, counts, data.generator_for(config.seed, 0, "method"))
    optimiser = torch.optim.SGD(network.parameters(), config.lr, MOMENTUM, weight_decay=config.weight_decay)

    step, history, selected = 0, [], None
    for epoch in range(config.epochs):
        lr = learning_rate(config, epoch)
        optimiser.param_groups[0]["lr"] = lr
        network.train()
        losses = []
        for batch in data.train_batches(run.train, epoch, config.batch_size, config.seed):
            meta = data.meta_batch(run.meta, step, config) if method.learned else None
            losses.append(train_step(network, method, optimiser, batch, meta, config, step))
            on_step(epoch + 1, losses[-1])
            step += 1
        last = epoch + 1 == config.epochs
        splits = run.evaluation if last else {k: v for k, v in run.evaluation.items() if k == "val"}
        metrics = {name: evaluate(network, part, classes, train_counts) for name, part in splits.items()}
        history.append({"epoch": epoch + 1, "lr": lr, **means(losses), **val_summary(metrics)})
        if "val" in metrics and (selected is None or merit(metrics) >= merit(selected.metrics)):
            selected = Snapshot(epoch + 1, copied(network), metrics)
    final = Snapshot(config.epochs, copied(network), metrics)
    if selected is not None:
        network.load_state_dict(selected.state)
        tested = {name: evaluate(network, part, classes, train_counts) for name, part in run.evaluation.items()}
        selected = Snapshot(selected.epoch, selected.state, tested)
    return Trained(network, final, selected, history)


def train_step(
    network: nn.Module,
    method: Method,
    optimiser: torch.optim.SGD,
    batch: Batch,
    meta: Batch | None,
    config: TrainConfig,
    step: int,
) -> StepLosses:
    """Do one step of Algorithm 1: changes the network, its batch-norm statistics, the optimiser and the method.

    meta: the meta batch, None for a method that learns nothing. One real forward pass serves the characteristics,
    the virtual step (8) and the final step (10): all three are at the same weights.
    """
    weights, lr = tuple(network.parameters()), optimiser.param_groups[0]["lr"]
    with_saliency = method.saliency_weight > 0 and step % config.saliency_interval == 0
    out = network(batch.images.requires_grad_(with_saliency))
    penalty, penalty_gradient = None, None
    if with_saliency:  # free of Omega, so its gradient is taken once for (8) and (10)
        terms = saliency(batch.images, out.logits, batch.inside, batch.label, config.saliency_target)
        check_finite(terms, batch.sample_id, "training saliency", step)
        penalty_loss = method.saliency_weight * terms.mean()
        penalty_gradient = torch.autograd.grad(penalty_loss, weights, retain_graph=True, materialize_grads=True)
        penalty = penalty_loss.item()

    view = View(out.logits.detach(), out.features.detach(), network.head.weight.detach(), batch.label)
    method.observe(view)  # CHARACTERISTICS
    delta = method.perturb(view)  # PERTURB
    losses = cross_entropy(out.logits, batch.label, delta)
    check_finite(losses, batch.sample_id, "training loss", step)
    meta_loss = None
    if meta is not None:  # META STEP, eqs. (8) and (9)
        gradients, value = hypergradient(
            network,
            method.learned,
            losses.mean(),
            lambda virtual: meta_objective(network, virtual, method, meta, config, step),
            lr,
            penalty_gradient,
        )
        method.update(gradients)
        meta_loss = value.item()
        losses = cross_entropy(out.logits, batch.label, method.perturb(view))

    gradients = torch.autograd.grad(losses.mean(), weights)  # final step, eq. (10)
    for i, (w, g) in enumerate(zip(weights, gradients, strict=True)):
        w.grad = g if penalty_gradient is None else g + penalty_gradient[i]
    optimiser.step()
    return StepLosses(losses.detach().mean().item(), meta_loss, penalty)


def meta_objective(
    network: nn.Module, weights: dict[str, Tensor], method: Method, meta: Batch, config: TrainConfig, step: int
) -> Tensor:
    """Return the bracket of eq. (9) at other weights, a scalar: mean loss by kind plus saliency of the meta batch."""
    images = meta.images.detach().requires_grad_(method.saliency_weight > 0)
    out = virtual_pass(network, weights, images)
    delta = None
    if config.meta_delta == "paper":
        head = weights["head.weight"].detach()
        delta = method.perturb(View(out.logits.detach(), out.features.detach(), head, meta.label))
    losses = meta_losses(out.logits, meta.label, meta.kind, delta)
    if method.saliency_weight > 0:
        terms = saliency(images, out.logits, meta.inside, meta.label, config.saliency_target)
        losses = losses + method.saliency_weight * terms
    check_finite(losses, meta.sample_id, "meta loss", step)
    return losses.mean()


def learning_rate(config: TrainConfig, epoch: int) -> float:
    """Return the step size of an epoch (from 0): a tenth at 60 % and again at 80 % of the run."""
    return config.lr * LR_DROP ** sum(epoch >= share * config.epochs for share in MILESTONES)


def merit(metrics: dict[str, Metrics]) -> tuple[float, float]:
    """Return what epochs are compared by: the worst group of val, then its average."""
    return metrics["val"].worst, metrics["val"].average


def means(losses: list[StepLosses]) -> dict[str, float | None]:
    """Return each loss's mean over the steps that computed it; None for none."""
    found = {}
    for name in ("train", "meta", "saliency"):
        values = [v for v in (getattr(part, name) for part in losses) if v is not None]
        found[f"{name}_loss"] = sum(values) / len(values) if values else None
    return found


def val_summary(metrics: dict[str, Metrics]) -> dict[str, float]:
    """Return the two numbers of a history line, empty without a val split."""
    return {"val_worst": metrics["val"].worst, "val_average": metrics["val"].average} if "val" in metrics else {}


def copied(network: nn.Module) -> dict[str, Tensor]:
    """Return a copy of a network's parameters and buffers."""
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
