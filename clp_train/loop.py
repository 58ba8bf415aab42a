"""A run on one page: stages of epochs of steps, EVALUATE after each epoch, a full state on disk every so often."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
from clp_train.optimiser import build_optimiser, rate_factor, set_rates, take_up
from clp_train.probe import probe_of
from clp_train.stages import Stage, plan
from clp_train.step import StepLosses, train_step

BOTH = ("val", "test")


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
    """One stage as it runs. learner: the network, or its head alone; run: the pictures, or their features; stream:
    those that an epoch goes through; meta: those of the meta step, None without one.
    """

    stage: Stage
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

    on_step: called after each step; on_epoch: after each epoch with the history; checkpoint: where the full state goes
    every config.checkpoint_interval steps and after each epoch; resume: go on from it. Raises DivergedError when a loss
    is not finite, and what `plan`, `check_stages` and `Checkpoint.load` raise.
    """
    classes, groups = len(run.header.class_names), len(run.group_names)
    table = TrainTable(run.train.label, run.train.group, classes, groups)
    network = start_network(config, run, classes)
    method = build_method(config, table, data.generator_for(config.seed, 0, "method"))
    stages = plan(method.stages, config.epochs, config.trainable)
    check_stages(stages, method, config)
    at, momentum = checkpoint.load(network, method) if resume else (Position(), {})
    saved = f"last good state: {checkpoint.path}, step {at.step}" if resume else "no good state was kept"
    steps = sum(len(epochs) * steps_of(stream_of(stage, run), config) for stage, epochs in stages)
    counts = [int(n) for n in table.group_counts()]

    def measured(part: Part, splits: tuple[str, ...]) -> dict[str, Metrics]:
        there = {name: part.run.evaluation[name] for name in splits if name in part.run.evaluation}
        return {name: evaluate(part.learner, v, classes, counts, method.predict) for name, v in there.items()}

    for stage, epochs in stages:
        if at.epoch >= epochs.stop:
            continue
        fresh = at.epoch == epochs.start and not at.losses
        if fresh and stage.fresh_head:
            start_linear(network.head, data.generator_for(config.seed, epochs.start, "fresh head"))
        part = part_of(stage, network, run, method)
        optimiser = build_optimiser(part.learner, config)
        if not fresh:
            take_up(momentum, network, optimiser)
        for epoch in range(at.epoch, epochs.stop):
            factor = rate_factor(config, epoch - epochs.start, len(epochs))
            set_rates(optimiser, factor)
            try:
                for losses in epoch_steps(part, epoch, method, optimiser, config, at):
                    on_step(Done(at.step, steps, epoch + 1, losses))
                    if checkpoint is not None and at.step % config.checkpoint_interval == 0:
                        saved = checkpoint.save(network, optimiser, method, at)
            except DivergedError as error:
                raise DivergedError(f"{error}; {saved}") from None
            last = epoch + 1 == config.epochs
            metrics = measured(part, BOTH if last or config.watch_test else ("val",))
            conclude_epoch(at, network, metrics, factor * config.lr, config.watch_test)
            on_epoch(at.history)
            if checkpoint is not None and not last:
                saved = checkpoint.save(network, optimiser, method, at)
    final, selected = Snapshot(config.epochs, copied(network), metrics), at.selected
    if selected is not None:
        network.load_state_dict(selected.state)
        if stage.trainable == "all" or selected.epoch <= epochs.start:  # else the features are those at hand
            part = part_of(stage, network, run, method)
        selected = Snapshot(selected.epoch, selected.state, measured(part, BOTH))
    return Trained(network, final, selected, at.history, at.best)


def start_network(config: TrainConfig, run: RunData, classes: int) -> nn.Module:
    """Return the classifier before its first step."""
    statistics = data.channel_statistics(run.train.images)
    network = build_model(config.model, classes, *statistics, data.generator_for(config.seed, 0, "network"))
    network.to(memory_format=torch.channels_last)  # a fifth faster on a CPU than contiguous pictures
    return frozen_batch_norm(network) if config.freeze_batch_norm else network


def epoch_steps(
    part: Part, epoch: int, method: Method, optimiser: torch.optim.SGD, config: TrainConfig, at: Position
) -> Iterator[StepLosses]:
    """Do the steps of an epoch (from 0) that are left, one by one, and yield the losses of each."""
    part.learner.train()
    for batch in data.train_batches(part.stream, epoch, config, part.stage.sampler, len(at.losses)):
        wanted = part.meta is not None and at.step % config.meta_interval == 0
        meta = meta_batch(part.meta, at.step, config, part.learner) if wanted else None
        at.losses.append(train_step(part.learner, method, optimiser, batch, meta, config, at.step))
        at.step += 1
        yield at.losses[-1]


def conclude_epoch(at: Position, network: nn.Module, metrics: dict[str, Metrics], lr: float, watch_test: bool) -> None:
    """Write the epoch's line into the history, and keep the network if val likes it best; likewise for test."""
    epoch = at.epoch + 1
    at.history.append({"epoch": epoch, "lr": lr, **means(at.losses), **summary(metrics)})
    at.losses = []
    if "val" in metrics and (at.selected is None or merit(metrics) >= merit(at.selected.metrics)):
        at.selected = Snapshot(epoch, copied(network), metrics)
    test = metrics.get("test") if watch_test else None
    if test is not None and (at.best is None or test.average > at.best.metrics["test"].average):
        at.best = Snapshot(epoch, {}, metrics)


def steps_of(stream: BoxedPictures, config: TrainConfig) -> int:
    """Return the steps of one epoch."""
    return data.steps_per_epoch(len(stream), config.batch_size)


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


def part_of(stage: Stage, network: nn.Module, run: RunData, method: Method) -> Part:
    """Return what a stage works on; for the head alone this computes all features."""
    learner, run = (network, run) if stage.trainable == "all" else probe_of(network, run)
    with_meta_step = bool(method.learned) and stage.stream == "train"
    meta = data.meta_of_kinds(run.meta, method.meta_kinds) if with_meta_step else None
    return Part(stage, learner, run, stream_of(stage, run), meta)


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
