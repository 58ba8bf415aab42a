"""A run on one page: epochs of steps, EVALUATE after each, a full state on disk every so often."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clp_train import data
from clp_train.checkpoint import Checkpoint, Position, Snapshot
from clp_train.config import TrainConfig
from clp_train.data import RunData
from clp_train.methods import build_method
from clp_train.metrics import Metrics, evaluate
from clp_train.models import build_model
from clp_train.models.parts import frozen_batch_norm
from clp_train.step import StepLosses, train_step

MILESTONES = (0.6, 0.8)  # of the epochs; the paper's 120 and 160 of 200
LR_DROP = 0.1


@dataclass(frozen=True)
class Trained:
    """What a run leaves. selected: the epoch with the best val worst group, None without a val split."""

    network: nn.Module
    last: Snapshot
    selected: Snapshot | None
    history: list[dict]


def train(
    config: TrainConfig,
    run: RunData,
    on_step: Callable[[int, StepLosses], None] = lambda *_: None,
    checkpoint: Checkpoint | None = None,
    resume: bool = False,
) -> Trained:
    """Train and evaluate one classifier; the same settings give the same weights on a CPU, killed and resumed or not.

    on_step: called after each step with its epoch (from 1) and losses; checkpoint: where the full state goes every
    config.checkpoint_interval steps and after each epoch; resume: go on from it. Raises DivergedError when a loss is
    not finite, and what `Checkpoint.load` raises.
    """
    classes = len(run.header.class_names)
    train_counts = torch.bincount(run.train.group, minlength=len(run.group_names)).tolist()
    counts = torch.bincount(run.train.label, minlength=classes).float()
    statistics = data.channel_statistics(run.train.images)
    network = build_model(config.model, classes, *statistics, data.generator_for(config.seed, 0, "network"))
    method = build_method(config, counts, data.generator_for(config.seed, 0, "method"))
    if config.freeze_batch_norm:
        frozen_batch_norm(network)
    optimiser = build_optimiser(network, config)
    meta_set = data.meta_of_kinds(run.meta, method.meta_kinds) if method.learned else None
    at = checkpoint.load(network, optimiser, method) if resume else Position()

    steps = data.steps_per_epoch(len(run.train), config.batch_size)
    metrics: dict[str, Metrics] = {}
    for epoch in range(at.step // steps, config.epochs):
        factor = rate_factor(config, epoch)
        for group in optimiser.param_groups:
            group["lr"] = factor * group["start"]
        network.train()
        for batch in data.train_batches(run.train, epoch, config, at.step - epoch * steps):
            wanted = meta_set is not None and at.step % config.meta_interval == 0
            meta = data.meta_batch(meta_set, at.step, config) if wanted else None
            at.losses.append(train_step(network, method, optimiser, batch, meta, config, at.step))
            at.step += 1
            on_step(epoch + 1, at.losses[-1])
            if checkpoint is not None and at.step % config.checkpoint_interval == 0 and at.step % steps:
                checkpoint.save(network, optimiser, method, at)
        last = epoch + 1 == config.epochs
        splits = run.evaluation if last else {k: v for k, v in run.evaluation.items() if k == "val"}
        metrics = {k: evaluate(network, part, classes, train_counts, method.predict) for k, part in splits.items()}
        at.history.append({"epoch": epoch + 1, "lr": factor * config.lr, **means(at.losses), **val_summary(metrics)})
        at.losses = []
        if "val" in metrics and (at.selected is None or merit(metrics) >= merit(at.selected.metrics)):
            at.selected = Snapshot(epoch + 1, copied(network), metrics)
        if checkpoint is not None and not last:
            checkpoint.save(network, optimiser, method, at)
    final, selected = Snapshot(config.epochs, copied(network), metrics), at.selected
    if selected is not None:
        network.load_state_dict(selected.state)
        tested = {
            name: evaluate(network, part, classes, train_counts, method.predict)
            for name, part in run.evaluation.items()
        }
        selected = Snapshot(selected.epoch, selected.state, tested)
    return Trained(network, final, selected, at.history)


def build_optimiser(network: nn.Module, config: TrainConfig) -> torch.optim.SGD:
    """Return SGD with momentum over the body and the head, each with its step size at the start of the run."""
    head = [*network.head.parameters()]
    body = [w for w in network.parameters() if not any(w is own for own in head)]
    parts = ((body, config.lr), (head, config.head_lr or config.lr))
    groups = [{"params": weights, "lr": lr, "start": lr} for weights, lr in parts]
    return torch.optim.SGD(groups, config.lr, config.momentum, weight_decay=config.weight_decay)


def rate_factor(config: TrainConfig, epoch: int) -> float:
    """Return what the step sizes are multiplied by in an epoch (from 0)."""
    if config.schedule == "constant":
        return 1.0
    if config.schedule == "cosine":
        return (1 + math.cos(math.pi * epoch / config.epochs)) / 2
    return LR_DROP ** sum(epoch >= share * config.epochs for share in MILESTONES)


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
