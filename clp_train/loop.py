"""A run on one page: stages of epochs of steps, EVALUATE after each epoch, a full state on disk every so often."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from clp_aug.contract.errors import UsageError
from clp_aug.contract.schema import ORIGINAL
from clp_train import data
from clp_train.checkpoint import Checkpoint, Position, Snapshot
from clp_train.config import TrainConfig
from clp_train.data import BoxedPictures, RunData
from clp_train.losses import DivergedError
from clp_train.meta_stream import meta_batch
from clp_train.methods import build_method
from clp_train.methods.base import Method, TrainTable
from clp_train.metrics import Metrics, evaluate
from clp_train.models import build_model
from clp_train.models.parts import frozen_batch_norm, start_linear
from clp_train.probe import probe_of
from clp_train.stages import Stage, plan
from clp_train.step import StepLosses, train_step

MILESTONES = (0.6, 0.8)  # of the epochs; the paper's 120 and 160 of 200
LR_DROP = 0.1


@dataclass(frozen=True)
class Trained:
    """What a run leaves. selected: the epoch with the best val worst group, None without a val split; best_on_test:
    that with the best test average, with `watch_test` alone: no honest figure, but one that many papers print.
    """

    network: nn.Module
    last: Snapshot
    selected: Snapshot | None
    history: list[dict]
    best_on_test: Snapshot | None = None


class Done(NamedTuple):
    """What is told after a step: how many of all are done, the epoch under way (from 1), the losses of the step."""

    step: int
    steps: int
    epoch: int
    losses: StepLosses


@dataclass(frozen=True)
class Part:
    """One stage as it runs. epochs: from 0 through the run; learner: the network, or its head alone; run: the pictures,
    or their features; stream: those that an epoch goes through; meta: those of the meta step, None without one.
    """

    stage: Stage
    epochs: range
    learner: nn.Module
    run: RunData
    stream: BoxedPictures
    meta: BoxedPictures | None


def train(
    config: TrainConfig,
    run: RunData,
    on_step: Callable[[Done], None] = lambda _: None,
    on_epoch: Callable[[list[dict]], None] = lambda _: None,
    checkpoint: Checkpoint | None = None,
    resume: bool = False,
) -> Trained:
    """Train and evaluate one classifier; the same settings give the same weights on a CPU, killed and resumed or not.

    on_step: called after each step; on_epoch: after each epoch with the history;
    checkpoint: where the full state goes every config.checkpoint_interval steps and after each epoch; resume: go on
    from it. Raises DivergedError when a loss is not finite, and what `plan` and `Checkpoint.load` raise.
    """
    classes, groups = len(run.header.class_names), len(run.group_names)
    table = TrainTable(run.train.label, run.train.group, classes, groups)
    train_counts = [int(n) for n in table.group_counts()]
    statistics = data.channel_statistics(run.train.images)
    network = build_model(config.model, classes, *statistics, data.generator_for(config.seed, 0, "network"))
    network.to(memory_format=torch.channels_last)  # a fifth faster on a CPU than contiguous pictures
    if config.freeze_batch_norm:
        frozen_batch_norm(network)
    method = build_method(config, table, data.generator_for(config.seed, 0, "method"))
    stages = plan(method.stages, config.epochs, config.trainable)
    check_stages(stages, method, config)
    steps = sum(
        len(epochs) * data.steps_per_epoch(len(stream_of(stage, run)), config.batch_size) for stage, epochs in stages
    )
    at, momentum = checkpoint.load(network, method) if resume else (Position(), {})
    saved = f"last good state: {checkpoint.path}, step {at.step}" if resume else "no good state was kept"

    def measured(part: Part, splits: dict[str, data.Pictures]) -> dict[str, Metrics]:
        return {k: evaluate(part.learner, v, classes, train_counts, method.predict) for k, v in splits.items()}

    for stage, epochs in stages:
        if at.epoch >= epochs.stop:
            continue
        fresh = at.epoch == epochs.start and not at.losses
        if fresh and stage.fresh_head:
            start_linear(network.head, data.generator_for(config.seed, epochs.start, "fresh head"))
        part = part_of(stage, epochs, network, run, method)
        optimiser = build_optimiser(part.learner, config)
        if not fresh:
            take_up(momentum, network, optimiser)
        for epoch in range(at.epoch, epochs.stop):
            factor = rate_factor(config, epoch - epochs.start, len(epochs))
            for group in optimiser.param_groups:
                group["lr"] = factor * group["start"]
            part.learner.train()
            for batch in data.train_batches(part.stream, epoch, config, stage.sampler, len(at.losses)):
                wanted = part.meta is not None and at.step % config.meta_interval == 0
                meta = meta_batch(part.meta, at.step, config, part.learner) if wanted else None
                try:
                    at.losses.append(train_step(part.learner, method, optimiser, batch, meta, config, at.step))
                except DivergedError as error:
                    raise DivergedError(f"{error}; {saved}") from None
                at.step += 1
                on_step(Done(at.step, steps, epoch + 1, at.losses[-1]))
                if checkpoint is not None and at.step % config.checkpoint_interval == 0:
                    saved = checkpoint.save(network, optimiser, method, at)
            last = epoch + 1 == config.epochs
            watched = ("val", "test") if config.watch_test or last else ("val",)
            metrics = measured(part, {k: v for k, v in part.run.evaluation.items() if k in watched})
            line = {"epoch": epoch + 1, "lr": factor * config.lr, **means(at.losses), **summary(metrics)}
            at.history.append(line)
            at.losses = []
            if "val" in metrics and (at.selected is None or merit(metrics) >= merit(at.selected.metrics)):
                at.selected = Snapshot(epoch + 1, copied(network), metrics)
            if config.watch_test and (at.best is None or metrics["test"].average > at.best.metrics["test"].average):
                at.best = Snapshot(epoch + 1, {}, metrics)
            on_epoch(at.history)
            if checkpoint is not None and not last:
                saved = checkpoint.save(network, optimiser, method, at)
    final, selected = Snapshot(config.epochs, copied(network), metrics), at.selected
    if selected is not None:
        network.load_state_dict(selected.state)
        part = part_of(stage, epochs, network, run, method)  # the body may be another than the last epoch's
        selected = Snapshot(selected.epoch, selected.state, measured(part, part.run.evaluation))
    return Trained(network, final, selected, at.history, at.best)


def stream_of(stage: Stage, run: RunData) -> BoxedPictures:
    """Return what an epoch of a stage goes through."""
    return run.train if stage.stream == "train" else data.meta_of_kinds(run.meta, (ORIGINAL,))


def check_stages(stages: list[tuple[Stage, range]], method: Method, config: TrainConfig) -> None:
    """Raise UsageError for what a head alone cannot do."""
    if not any(stage.trainable == "head" and stage.stream == "train" for stage, _ in stages):
        return
    if method.saliency_weight > 0:
        raise UsageError("--set trainable=head: eq. (6) acts on the body; give --saliency-lambda 0, or train all of it")
    if config.online != "none":
        raise UsageError(
            f"--set online={config.online}: a frozen body's features are made once; take --set online=none"
        )


def part_of(stage: Stage, epochs: range, network: nn.Module, run: RunData, method: Method) -> Part:
    """Return what a stage works on; for the head alone this computes all features."""
    learner, run = (network, run) if stage.trainable == "all" else probe_of(network, run)
    with_meta_step = bool(method.learned) and stage.stream == "train"
    meta = data.meta_of_kinds(run.meta, method.meta_kinds) if with_meta_step else None
    return Part(stage, epochs, learner, run, stream_of(stage, run), meta)


def build_optimiser(network: nn.Module, config: TrainConfig) -> torch.optim.SGD:
    """Return SGD with momentum over the body and the head, each with its step size at the start of the stage."""
    head = [*network.head.parameters()]
    body = [w for w in network.parameters() if not any(w is own for own in head)]
    parts = ((body, config.lr), (head, config.head_lr or config.lr))
    groups = [{"params": weights, "lr": lr, "start": lr} for weights, lr in parts if weights]
    return torch.optim.SGD(groups, config.lr, config.momentum, weight_decay=config.weight_decay)


def take_up(momentum: dict[str, Tensor], network: nn.Module, optimiser: torch.optim.SGD) -> None:
    """Give an optimiser the momentum of a checkpoint, by the names of the network's parameters."""
    for name, w in network.named_parameters():
        if name in momentum:
            optimiser.state[w]["momentum_buffer"] = momentum[name]


def rate_factor(config: TrainConfig, epoch: int, epochs: int) -> float:
    """Return what the step sizes are multiplied by in an epoch (from 0) of a stage with so many."""
    if config.schedule == "constant":
        return 1.0
    if config.schedule == "cosine":
        return (1 + math.cos(math.pi * epoch / epochs)) / 2
    return LR_DROP ** sum(epoch >= share * epochs for share in MILESTONES)


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


def summary(metrics: dict[str, Metrics]) -> dict[str, float]:
    """Return the numbers of a history line, two for each split that was measured."""
    return {f"{split}_{key}": getattr(m, key) for split, m in metrics.items() for key in ("worst", "average")}


def copied(network: nn.Module) -> dict[str, Tensor]:
    """Return a copy of a network's parameters and buffers."""
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
