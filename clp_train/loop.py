"""A run on one page: stages of epochs of steps, EVALUATE after each epoch, a full state on disk every so often."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from clp_aug.contract.errors import UsageError
from clp_aug.contract.schema import FACTUAL, ORIGINAL
from clp_aug.contract.seeds import rng_for
from clp_aug.protocol.label_noise import parse_noise, wrong_share
from clp_train import batches, data
from clp_train.batches import Batch, BoxedPictures
from clp_train.checkpoint import Checkpoint, Position, Snapshot
from clp_train.clock import Clock, Spent
from clp_train.config import TrainConfig
from clp_train.data import RunData
from clp_train.epochs import conclude_epoch, copied
from clp_train.learnt_backgrounds import learnt_backgrounds
from clp_train.loss_changes import raised_losses
from clp_train.losses import DivergedError
from clp_train.meta_stream import meta_batch
from clp_train.methods import build_method
from clp_train.methods.base import Method, TrainTable
from clp_train.metrics import Metrics, evaluate
from clp_train.models import build_model
from clp_train.models.heads import make_head, start_head
from clp_train.models.parts import Peers, frozen_batch_norm, heads
from clp_train.optimiser import build_optimiser, rate_factor, set_rates, take_up
from clp_train.probe import probe_of
from clp_train.scoring import scores_of
from clp_train.stages import Stage, plan
from clp_train.step import StepLosses, train_step


@dataclass(frozen=True)
class Trained:
    """What a run leaves. selected: the epoch with the best val worst group, None without a val split; best_on_test:
    that with the best average on the first test split, with `watch_test` alone: no honest figure, but one that many
    papers print; spent: the time that it took, with that of killed processes until they saved, without that for the
    features of a body that never learns.
    """

    network: nn.Module
    last: Snapshot
    selected: Snapshot | None
    history: list[dict]
    spent: Spent
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
    watch: Callable[[Iterable, str], Iterable] = data.unwatched,
) -> Trained:
    """Train and evaluate one classifier; the same settings give the same weights on a CPU, killed and resumed or not.

    on_step: called after each step; on_epoch: after each epoch with the history; checkpoint: where the full state goes
    every config.checkpoint_interval steps, after each epoch, and once backgrounds are learnt; resume: go on from it;
    watch: wraps the epochs in which backgrounds are learnt, for methods that ask for them, before the first step.
    Raises DivergedError when a loss is not finite or a logit is NaN, and what `plan`, `check_stages` and
    `Checkpoint.load` raise.
    """
    classes = len(run.header.class_names)
    table = table_of(run)
    method = build_method(config, table, batches.generator_for(config.seed, 0, "method"))
    network = start_network(config, run, classes, method)
    stages = plan(method.stages, config.epochs, config.trainable)
    check_stages(stages, method, config)
    at, momentum = checkpoint.load(network, method) if resume else (Position(), {})
    clock = Clock(at.spent)
    saved = f"last state: {checkpoint.path}, step {at.step}" if resume else "no state was kept"
    steps = sum(
        batches.steps_per_epoch(method.pictures(epoch) or len(stream_of(stage, run)), config.batch_size)
        for stage, epochs in stages
        for epoch in epochs
    )
    counts = list(run.weights)
    everything = tuple(run.evaluation)
    starting = functools.partial(start_network, config, run, classes, method)
    learnt = functools.partial(learnt_backgrounds, starting, run.train, config, watch)

    def measured(part: Part, splits: tuple[str, ...]) -> dict[str, Metrics]:
        there = {name: part.run.evaluation[name] for name in splits if name in part.run.evaluation}
        judged = functools.partial(method.predict, head=network.head)
        return {
            name: evaluate(part.learner, v, classes, counts, judged, run.strata.get(name, {}))
            for name, v in there.items()
        }

    def keep() -> str:
        at.spent = clock.read()
        return checkpoint.save(network, optimiser, method, at)

    for number, (stage, epochs) in enumerate(stages):
        if at.epoch >= epochs.stop:
            continue
        fresh = at.epoch == epochs.start and not at.begun
        if fresh:
            begin_stage(number, stage, network, method, config, run)
        method.enter(number, network)
        untimed = clock.stopped() if config.trainable == "head" else contextlib.nullcontext()
        with untimed:  # features of a body that never learns may lie in the cache
            part = part_of(stage, network, run, method, config)
        optimiser = build_optimiser(part.learner, config, stage.rate)
        if not fresh:
            take_up(momentum, network, optimiser)
        for epoch in range(at.epoch, epochs.stop):
            if not at.begun:
                method.begin_epoch(epoch, config.epochs, scores_of(part.learner, part.run, learnt))
                at.begun = True
                if checkpoint is not None and method.sees_background and epoch == 0:  # learning them takes long
                    saved = keep()
            factor = rate_factor(config, epoch - epochs.start, len(epochs))
            set_rates(optimiser, factor)
            last = epoch + 1 == config.epochs
            try:
                for losses in epoch_steps(part, epoch, method, optimiser, config, at):
                    on_step(Done(at.step, steps, epoch + 1, losses))
                    if checkpoint is not None and at.step % config.checkpoint_interval == 0:
                        saved = keep()
                metrics = measured(part, everything if last or config.watch_test else ("val",))
            except DivergedError as error:
                raise DivergedError(f"{error}; {saved}") from None
            conclude_epoch(at, network, metrics, factor * stage.rate * config.lr, config.watch_test)
            raised = raised_losses(part.learner, method, part.run.train, run.wrong, config, epoch / config.epochs)
            at.history[-1] |= raised | method.numbers()
            on_epoch(at.history)
            if checkpoint is not None and not last:
                saved = keep()
    final, selected = Snapshot(config.epochs, copied(network), metrics), at.selected
    if selected is not None:
        network.load_state_dict(selected.state)
        if stage.trainable == "all" or selected.epoch <= epochs.start:  # else the features are those at hand
            part = part_of(stage, network, run, method, config)
        selected = Snapshot(selected.epoch, selected.state, measured(part, everything))
    return Trained(
        network.nets[0] if isinstance(network, Peers) else network, final, selected, at.history, clock.read(), at.best
    )


def table_of(run: RunData) -> TrainTable:
    """Return what a method may know of a run's pictures before it starts."""
    names, noise = run.header.class_names, run.header.settings.get("noise")
    wrong = wrong_share(parse_noise(noise), len(names)) if noise else 0.0
    meta_label = batches.meta_of_kinds(run.meta, (ORIGINAL,)).label
    return TrainTable(run.train.label, run.train.group, len(names), len(run.group_names), names, meta_label, wrong)


def start_network(config: TrainConfig, run: RunData, classes: int, method: Method) -> nn.Module:
    """Return the classifier before its first step, with the method's last layer; two of them for peers."""
    statistics = data.channel_statistics(run.train.images)

    def start(number: int) -> nn.Module:
        generator = batches.generator_for(config.seed, number, "network")
        network = build_model(config.model, classes, *statistics, generator)
        if method.head != "linear":
            network.head = make_head(method.head, network.head.in_features, classes, generator)
        return network

    network = start(0) if method.networks == 1 else Peers(*map(start, range(method.networks)))
    network.to(memory_format=torch.channels_last)  # a fifth faster on a CPU than contiguous pictures
    return frozen_batch_norm(network) if config.freeze_batch_norm else network


def begin_stage(
    number: int, stage: Stage, network: nn.Module, method: Method, config: TrainConfig, run: RunData
) -> None:
    """Show the method what the network makes of the pictures, then start anew what the stage starts anew."""
    method.begin_stage(number, scores_of(network, run))
    if stage.restart:
        first = start_network(config, run, len(run.header.class_names), method)
        network.load_state_dict(first.state_dict())
    if stage.fresh_head:
        for i, head in enumerate(heads(network)):
            start_head(head, batches.generator_for(config.seed, number * len(heads(network)) + i, "fresh head"))


def epoch_steps(
    part: Part, epoch: int, method: Method, optimiser: torch.optim.SGD, config: TrainConfig, at: Position
) -> Iterator[StepLosses]:
    """Do the steps of an epoch (from 0) that are left, one by one, and yield the losses of each."""
    part.learner.train()
    own = method.batches(epoch, config.batch_size, rng_for(config.seed, epoch, "method order"))
    if own is None or part.stage.stream != "train":
        own = batches.epoch_rows(part.stream, epoch, config, part.stage.sampler)
    for rows in own[len(at.losses) :]:
        batch = composed(part, rows, method, config, at.step)
        progress = epoch / config.epochs
        wanted = part.meta is not None and method.learns(progress) and at.step % config.meta_interval == 0
        meta = meta_batch(part.meta, at.step, config, part.learner) if wanted else None
        at.losses.append(train_step(part.learner, method, optimiser, batch, meta, config, at.step, progress))
        at.step += 1
        yield at.losses[-1]


def composed(part: Part, rows: np.ndarray, method: Method, config: TrainConfig, step: int) -> Batch:
    """Return the batch of a step as the method wants it: with partners, mixed."""
    batch, rng = batches.train_batch(part.stream, rows, step, config), rng_for(config.seed, step, "mix")
    partners = method.partners(batch, rng)
    if partners is not None:
        batch = replace(batch, second=batches.train_batch(part.stream, partners, step, config, "partner"))
    return method.mixed(batch, rng)


def stream_of(stage: Stage, run: RunData) -> BoxedPictures:
    """Return what an epoch of a stage goes through."""
    if stage.stream == "train":
        return run.train
    originals = batches.meta_of_kinds(run.meta, (ORIGINAL,))
    return originals if stage.stream == "meta" else run.train.followed_by(originals)


def check_stages(stages: list[tuple[Stage, range]], method: Method, config: TrainConfig) -> None:
    """Raise UsageError for factuals in a meta step that is to have none, and for what a head alone cannot do."""
    if config.online != "none" and method.learned and FACTUAL not in method.meta_kinds:
        raise UsageError(
            f"--set online={config.online}: {config.method} learns from meta originals alone; take --set online=none"
        )
    if not any(stage.trainable == "head" and stage.stream != "meta" for stage, _ in stages):
        return
    if method.saliency_weight > 0:
        raise UsageError("--set trainable=head: eq. (6) acts on the body; give --saliency-lambda 0, or train all of it")
    if config.online != "none":
        raise UsageError(
            f"--set online={config.online}: a frozen body's features are made once; take --set online=none"
        )


def part_of(stage: Stage, network: nn.Module, run: RunData, method: Method, config: TrainConfig) -> Part:
    """Return what a stage works on; for the head alone this computes all features, or finds them in the cache."""
    cache = config.cache if config.trainable == "head" else None  # a body that learns is no other run's
    more = method.additions(run.meta)
    run = run if more is None else replace(run, train=run.train.followed_by(more))
    learner, run = (network, run) if stage.trainable == "all" else probe_of(network, run, method.sees_background, cache)
    with_meta_step = bool(method.learned) and stage.stream != "meta"
    meta = batches.meta_of_kinds(run.meta, method.meta_kinds) if with_meta_step else None
    return Part(stage, learner, run, stream_of(stage, run), meta)
