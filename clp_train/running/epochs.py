"""The end of an epoch: its line in the history, and a snapshot of the network if it is the best so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from clp_aug.contract.errors import InputError
from clp_train.algorithm.step import StepLosses
from clp_train.evaluating.metrics import Metrics
from clp_train.evaluating.selection import LAST, WAYS, WORST_GROUP, merit
from clp_train.running.checkpoint import Position, Snapshot

MEASURES = ("worst", "average", "weighted_average", "worst_class", "balanced", "group_mean")
"""The metrics of a split that a history line has."""
NONE: Mapping[str, float] = {}


def conclude_epoch(
    at: Position,
    network: nn.Module,
    metrics: dict[str, Metrics],
    lr: float,
    watch_test: bool,
    way: str = WORST_GROUP,
    more: Mapping[str, float] = NONE,
) -> None:
    """Write the epoch's line into the history, and snapshot the network if no earlier epoch is better.

    watch_test: record the best test score too, without the weights; way: how epochs are compared, of `selection.WAYS`;
    more: numbers of the line that belong to no split.
    """
    epoch = at.epoch + 1
    line = {"epoch": epoch, "lr": lr, **means(at.losses), **summary(metrics), **more}
    at.history.append(line)
    at.losses, at.begun = [], False
    is_compared = way == LAST or "val" in metrics
    if is_compared and (at.selected is None or merit(line, way) >= merit(at.history[at.selected.epoch - 1], way)):
        at.selected = Snapshot(epoch, copy_state(network), metrics)
    test = first_test(metrics) if watch_test else None
    best = first_test(at.best.metrics) if at.best is not None else None
    if test is not None and (best is None or test.average > best.average):
        at.best = Snapshot(epoch, {}, metrics)


def is_patience_over(
    history: Sequence[Mapping[str, Any]], line: Mapping[str, Any], patience: int | None, way: str = WORST_GROUP
) -> bool:
    """Return whether the last `patience` epochs, ending with `line`, were no better than an earlier one.

    history: one line for each epoch before the last; way: as in `conclude_epoch`.
    """
    if patience is None or WAYS[way].key not in line:
        return False
    merits = [merit(each, way) for each in (*history, line)]
    return len(merits) - 1 - merits.index(max(merits)) >= patience


def check_comparable(history: Sequence[Mapping[str, Any]], way: str, path: Path) -> None:
    """Raise InputError for a state of an earlier version whose lines lack the measure that compares epochs."""
    key = WAYS[way].key
    if any("val_average" in line and key not in line for line in history):
        raise InputError(
            f"{path}: it is of an earlier version, whose epochs have no {key}; train again with another --out"
        )


def first_test(metrics: dict[str, Metrics]) -> Metrics | None:
    """Return the metrics of the first test split, None without any."""
    return next((m for name, m in metrics.items() if name != "val"), None)


def means(losses: list[StepLosses]) -> dict[str, float | None]:
    """Return each loss's mean over the steps that computed it; None if none did."""
    averages = {}
    for name in ("train", "meta", "saliency"):
        values = [v for v in (getattr(part, name) for part in losses) if v is not None]
        averages[f"{name}_loss"] = sum(values) / len(values) if values else None
    return averages


def summary(metrics: dict[str, Metrics]) -> dict[str, float]:
    """Return the numbers of a history line, six for each split that was measured."""
    return {name: getattr(m, key) for split, m in metrics.items() for key, name in measures_of(split).items()}


def measures_of(split: str) -> dict[str, str]:
    """Return the names of a split's measures in a history line: measure -> name."""
    return {key: f"{split}_{key}" for key in MEASURES}


def copy_state(network: nn.Module) -> dict[str, Tensor]:
    """Return a copy of a network's parameters and buffers, in memory."""
    return {name: value.detach().to("cpu", copy=True) for name, value in network.state_dict().items()}
