"""A run on one page: stages of epochs of steps, EVALUATE after each epoch, a full state on disk every so often."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from clp_aug.common.progress import Watch, unwatched
from clp_train.algorithm.losses import DivergedError
from clp_train.algorithm.method import Method, Scores
from clp_train.algorithm.optimiser import build_optimiser, rate_factor, restore_optimiser, set_rates
from clp_train.algorithm.stages import Stage
from clp_train.algorithm.step import StepLosses, train_step
from clp_train.evaluating.metrics import Metrics, balanced_accuracy, evaluate, measure
from clp_train.evaluating.outputs import scores_of
from clp_train.evaluating.predictions import Predictions, judge_of, predict_labelled
from clp_train.evaluating.raised_losses import raised_losses
from clp_train.evaluating.selection import BEFORE_OTHERS, GAP, WORST_GROUP, way_of
from clp_train.loading.features import digest_of_body
from clp_train.methods import entry_of
from clp_train.models.heads import start_head
from clp_train.models.parts import Classifier, Peers, heads
from clp_train.pictures.batching import steps_per_epoch
from clp_train.pictures.keys import generator_for
from clp_train.ranks.splitting import split_passes
from clp_train.running.assembly import Assembly
from clp_train.running.checkpoint import Checkpoint, Position, Snapshot
from clp_train.running.clock import Clock, Spent
from clp_train.running.epoch_steps import epoch_steps, read_new
from clp_train.running.epochs import check_comparable, conclude_epoch, copy_state, is_patience_over, summary
from clp_train.running.part import Part, part_of
from clp_train.running.trial import stream_length


@dataclass(frozen=True)
class Trained:
    """The outcome of a run. selected: the best epoch by `selected_by`, of `selection.WAYS`; without a val split None,
    except for "last"; best_on_test: the epoch with the best average on the first test split, only with `watch_test`:
    not an honest number, but many papers report it; spent: the time of the run, including killed processes until their
    last save, excluding features of a frozen body; method: computes the final logits; predictions: of the network, by
    split.
    """

    network: Classifier
    last: Snapshot
    selected: Snapshot | None
    history: list[dict[str, Any]]
    spent: Spent
    best_on_test: Snapshot | None = None
    method: Method = field(default_factory=Method)
    predictions: Mapping[str, Predictions] = field(default_factory=dict)
    selected_by: str = WORST_GROUP

    def _repr_html_(self) -> str:
        """Return what a notebook shows of the outcome."""
        from clp_train.evaluating.notebook import run_html

        snapshot = self.selected or self.last
        metrics = {split: dataclasses.asdict(of_split) for split, of_split in snapshot.metrics.items()}
        epoch = self.selected.epoch if self.selected else None
        facts = (("method", type(self.method).__name__), ("time", f"{self.spent.seconds:.0f} s"))
        return run_html("a trained network", facts, metrics, self.history, epoch)


class Done(NamedTuple):
    """Report after a step: the numbers of finished and of all steps, the present epoch (from 1), the step's losses."""

    step: int
    steps: int
    epoch: int
    losses: StepLosses


@dataclass(frozen=True)
class Hooks:
    """Callbacks of a run.

    on_step: after each step whose losses are read, on the CPU after every step; on_epoch: after each epoch, with the
    history; watch: wraps the epochs in which backgrounds are learnt; train_step: takes a step; replace it to observe
    steps; remark: gets a line that users must know; note: gets a line that users may want to know.
    """

    on_step: Callable[[Done], None] = lambda _: None
    on_epoch: Callable[[list[dict[str, Any]]], None] = lambda _: None
    watch: Watch = unwatched
    train_step: Callable[..., StepLosses] = train_step
    remark: Callable[[str], None] = lambda _: None
    note: Callable[[str], None] = lambda _: None


NO_HOOKS = Hooks()
READ_INTERVAL = 20
"""Steps between two reads of losses, because a read makes a device wait."""


def train(
    assembly: Assembly, hooks: Hooks = NO_HOOKS, checkpoint: Checkpoint | None = None, resume: bool = False
) -> Trained:
    """Train and evaluate one classifier; the same settings give the same weights on a CPU, killed and resumed or not.

    checkpoint: file of the full state, written every `checkpoint_interval` steps, after each epoch, and once
    backgrounds are learnt; resume: continue from it. Raises DivergedError when a loss is not finite or a logit is NaN,
    and what `Checkpoint.load` raises.
    """
    with split_passes(assembly.network, assembly.ranks):
        return follow(Run(assembly, hooks, checkpoint), hooks, resume)


def follow(run: Run, hooks: Hooks, resume: bool) -> Trained:
    """Go through the stages of a run, from the start or from its checkpoint."""
    assembly = run.assembly
    if assembly.method.remark:
        hooks.remark(assembly.method.remark)
    if resume:
        run.resume()
    for number, (stage, epochs) in enumerate(assembly.stages):
        if run.at.epoch < epochs.stop:
            run.begin_stage(number, stage, epochs)
            for epoch in range(run.at.epoch, epochs.stop):
                run.begin_epoch(epoch)
                metrics = run.train_epoch(epoch, epochs)
                run.conclude_epoch(epoch, epochs, metrics)
                if run.stopped:
                    break
    return run.result(metrics)


class Run:
    """A run in progress. at: its position; part: the present stage; last_state: place of its last full state, in words;
    body: digest of a frozen body, so that the state need not hold the body; "" if the body learns, or no state is kept.
    """

    part: Part
    optimiser: torch.optim.Optimizer

    def __init__(self, assembly: Assembly, hooks: Hooks, checkpoint: Checkpoint | None) -> None:
        self.assembly, self.hooks, self.checkpoint = assembly, hooks, checkpoint
        self.config, self.data, self.method = assembly.config, assembly.data, assembly.method
        self.network = assembly.network
        self.at, self.last_state = Position(), "no state was kept"
        self.of_optimiser: dict[str, Tensor] = {}
        self.stopped = False
        self.way = way_of(self.config.run.select, entry_of(self.config.method).needs)
        self.of_views: dict[str, float] = {}
        is_frozen = checkpoint is not None and self.config.run.trainable == "head"
        self.body = digest_of_body(self.network) if is_frozen else ""
        self.clock = Clock(self.at.spent)
        self.steps = sum(self.steps_of(stage, epoch) for stage, epochs in assembly.stages for epoch in epochs)

    def steps_of(self, stage: Stage, epoch: int) -> int:
        """Return the number of steps of an epoch."""
        pictures = self.method.pictures(epoch) or stream_length(stage, self.data)
        return steps_per_epoch(pictures, self.config.batches.batch_size)

    def resume(self) -> None:
        """Continue from the checkpoint. Raises what `Checkpoint.load` and `check_comparable` raise."""
        if self.checkpoint is None:
            raise ValueError("a run without a checkpoint cannot be resumed")
        self.at, self.of_optimiser = self.checkpoint.load(self.network, self.method, self.body)
        check_comparable(self.at.history, self.way, self.checkpoint.path)
        there, here = self.at.machine, self.checkpoint.machine
        if there != here:
            remark = f"begun on {there}, continued on {here}: results are bit-identical only on the same machine"
            self.hooks.remark(f"{self.checkpoint.path}: {remark}")
        self.clock = Clock(self.at.spent)
        self.last_state = self.checkpoint.describe(self.at)

    def save(self) -> None:
        """Save the full state, if there is a checkpoint."""
        if self.checkpoint is not None:
            self.at.spent = self.clock.read()
            self.last_state = self.checkpoint.save(self.network, self.optimiser, self.method, self.at, self.body)

    def begin_stage(self, number: int, stage: Stage, epochs: range) -> None:
        """Start a stage, or continue inside it: what learns, from which pictures, with which optimiser."""
        fresh = self.at.epoch == epochs.start and not self.at.begun
        if fresh:
            self.method.begin_stage(number, scores_of(self.network, self.data.train, self.data.meta))
            restart(number, stage, self.assembly)
        self.method.enter(number, self.network)
        untimed = self.clock.pause() if self.config.run.trainable == "head" else contextlib.nullcontext()
        with untimed:  # features of a body that never learns may lie in the cache
            self.take_up(stage)
        self.optimiser = build_optimiser(self.part.learner, heads(self.part.learner), self.config.sgd, stage.rate)
        if not fresh:
            restore_optimiser(self.of_optimiser, self.network, self.optimiser)

    def take_up(self, stage: Stage) -> None:
        """Make the part of a stage, after freeing the memory of the previous stage's pictures."""
        vars(self).pop("part", None)
        self.part = part_of(stage, self.assembly, self.hooks.note)

    def begin_epoch(self, epoch: int) -> None:
        """Let the method begin an epoch with the network's scores, once per epoch."""
        if self.at.begun:
            return
        self.method.begin_epoch(epoch, self.config.run.epochs, self.scores())
        self.at.begun = True
        if self.method.sees_background and epoch == 0:  # learning backgrounds takes long
            self.save()

    def scores(self) -> Scores:
        """Return the function that computes scores in the present stage."""
        data, learn = self.part.data, functools.partial(self.assembly.backgrounds, self.hooks.watch)
        return scores_of(self.part.learner, data.train, data.meta, data.background, learn)

    def train_epoch(self, epoch: int, epochs: range) -> dict[str, Metrics]:
        """Take the remaining steps of an epoch; return its metrics. epochs: of the stage. Raises DivergedError."""
        set_rates(self.optimiser, rate_factor(self.config.sgd, epoch - epochs.start, len(epochs)))
        at, interval = self.at, 1 if self.assembly.place.is_cpu else READ_INTERVAL
        try:
            for is_last in epoch_steps(self.part, epoch, self.assembly, self.optimiser, at, self.hooks.train_step):
                is_due = at.step % self.config.run.checkpoint_interval == 0
                if is_due or is_last or at.step % interval == 0:
                    read_new(at.losses)
                    self.hooks.on_step(Done(at.step, self.steps, epoch + 1, at.losses[-1]))
                if is_due:
                    self.save()
            whole = self.is_last(epoch) or self.config.run.watch_test
            metrics = self.measure(tuple(self.data.evaluation) if whole else ("val",))
            self.of_views = self.measure_views()
            line, patience = summary(metrics) | self.of_views, self.config.run.patience
            self.stopped = is_patience_over(at.history, line, patience, self.way) and not self.is_last(epoch)
            return self.measure(tuple(self.data.evaluation)) if self.stopped and not whole else metrics
        except DivergedError as error:
            raise DivergedError(f"{error}; {self.last_state}") from None

    def is_last(self, epoch: int) -> bool:
        """Return whether an epoch is the run's last one."""
        return epoch + 1 == self.config.run.epochs

    def measure(self, splits: tuple[str, ...]) -> dict[str, Metrics]:
        """EVALUATE: return the metrics of the given splits that have pictures, by name."""
        judge = judge_of(self.method, self.network)
        pictures, weights = self.part.data.evaluation, list(self.data.weights)
        return {
            name: evaluate(
                self.part.learner, pictures[name], self.assembly.classes, weights, judge,
                self.data.strata.get(name, {}), self.method.scale,
            )
            for name in splits
            if name in pictures
        }  # fmt: skip

    def measure_views(self) -> dict[str, float]:
        """Return the accuracy on val's objects on backgrounds of other classes, if epochs are compared by it."""
        views = self.part.data.views
        if self.way != GAP or views is None:
            return {}
        classes, judge = self.assembly.classes, judge_of(self.method, self.network)
        return {BEFORE_OTHERS: balanced_accuracy(self.part.learner, views, classes, judge)}

    def conclude_epoch(self, epoch: int, epochs: range, metrics: dict[str, Metrics]) -> None:
        """Write the epoch's line into the history, save snapshot and state, and call the hooks."""
        config, part = self.config, self.part
        lr = rate_factor(config.sgd, epoch - epochs.start, len(epochs)) * part.stage.rate * config.sgd.lr
        conclude_epoch(self.at, self.network, metrics, lr, config.run.watch_test, self.way, self.of_views)
        self.at.history[-1] |= raised_losses(
            part.learner, self.method, part.data.train, self.data.wrong, config.run.seed, config.batches.batch_size,
            epoch / config.run.epochs,
        ) | self.method.numbers()  # fmt: skip
        self.hooks.on_epoch(self.at.history)
        if self.stopped:
            patience = self.config.run.patience
            self.hooks.remark(f"stopped after epoch {epoch + 1}: val was no better in the last {patience} epochs")
        if not self.is_last(epoch) and not self.stopped:
            self.save()
        elif self.checkpoint is not None:
            self.at.spent = Spent()  # the result has it; so the same run writes the same bytes
            self.checkpoint.at_end().save(self.network, self.optimiser, self.method, self.at, self.body)

    def result(self, metrics: dict[str, Metrics]) -> Trained:
        """Measure the selected network on every split, and return the outcome. metrics: of the last epoch."""
        last, selected = Snapshot(self.at.epoch, copy_state(self.network), metrics), self.at.selected
        if selected is not None:
            self.network.load_state_dict(selected.state)
            stage, epochs = self.assembly.stages[-1]
            if stage.trainable == "all" or selected.epoch <= epochs.start:  # else the present features are right
                self.take_up(stage)
        predictions = self.predict()
        if selected is not None:
            all_metrics = {split: self.metrics_of(split, found) for split, found in predictions.items()}
            selected = Snapshot(selected.epoch, selected.state, all_metrics)
        network = self.network.first if isinstance(self.network, Peers) else self.network
        spent = self.clock.read()
        history, best = self.at.history, self.at.best
        return Trained(network, last, selected, history, spent, best, self.method, predictions, self.way)

    def predict(self) -> dict[str, Predictions]:
        """Return the network's predictions for each picture of every split."""
        judge = judge_of(self.method, self.network)
        return {
            name: predict_labelled(self.part.learner, pictures, judge, self.method.scale)
            for name, pictures in self.part.data.evaluation.items()
        }

    def metrics_of(self, split: str, found: Predictions) -> Metrics:
        """Return the metrics of predictions of a split."""
        pictures, strata = self.data.evaluation[split], self.data.strata.get(split, {})
        classes, weights = self.assembly.classes, list(self.data.weights)
        return measure(found.predicted, pictures.label, pictures.group, classes, weights, strata, found.sure)


def restart(number: int, stage: Stage, assembly: Assembly) -> None:
    """Initialise again what a stage restarts: the whole network, or its last layer."""
    network, seed = assembly.network, assembly.config.run.seed
    if stage.restart:
        network.load_state_dict(assembly.start().state_dict())
    if stage.fresh_head:
        for i, head in enumerate(heads(network)):
            start_head(head, generator_for(seed, number * len(heads(network)) + i, "fresh head"))
