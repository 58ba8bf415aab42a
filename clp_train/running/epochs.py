"""What an epoch leaves: its line in the history, and a snapshot of the network if its val score is the best so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from clp_train.algorithm.step import StepLosses
from clp_train.evaluating.metrics import Metrics
from clp_train.running.checkpoint import Position, Snapshot


def conclude_epoch(at: Position, network: nn.Module, metrics: dict[str, Metrics], lr: float, watch_test: bool) -> None:
    """Write the epoch's line into the history, and snapshot the network if its val score is the best so far.

    watch_test: note the best test score too, without the weights.
    """
    epoch = at.epoch + 1
    at.history.append({"epoch": epoch, "lr": lr, **means(at.losses), **summary(metrics)})
    at.losses, at.begun = [], False
    if "val" in metrics and (at.selected is None or merit(metrics) >= merit(at.selected.metrics)):
        at.selected = Snapshot(epoch, copy_state(network), metrics)
    test = first_test(metrics) if watch_test else None
    best = first_test(at.best.metrics) if at.best is not None else None
    if test is not None and (best is None or test.average > best.average):
        at.best = Snapshot(epoch, {}, metrics)


def is_patience_over(history: Sequence[dict[str, Any]], metrics: dict[str, Metrics], patience: int | None) -> bool:
    """Tell whether so many epochs, with that of the metrics as the last, had no better val score than one before them.

    history: a line for each epoch before that one.
    """
    if patience is None or "val" not in metrics:
        return False
    merits = [(line["val_worst"], line["val_average"]) for line in history] + [merit(metrics)]
    return len(merits) - 1 - merits.index(max(merits)) >= patience


def first_test(metrics: dict[str, Metrics]) -> Metrics | None:
    """Return the metrics of the first test split, None without any."""
    return next((m for name, m in metrics.items() if name != "val"), None)


def merit(metrics: dict[str, Metrics]) -> tuple[float, float]:
    """Return what epochs are compared by: the worst group of val, then its average."""
    return metrics["val"].worst, metrics["val"].average


def means(losses: list[StepLosses]) -> dict[str, float | None]:
    """Return each loss's mean over the steps that computed it; None for none."""
    averages = {}
    for name in ("train", "meta", "saliency"):
        values = [v for v in (getattr(part, name) for part in losses) if v is not None]
        averages[f"{name}_loss"] = sum(values) / len(values) if values else None
    return averages


def summary(metrics: dict[str, Metrics]) -> dict[str, float]:
    """Return the numbers of a history line, three for each split that was measured."""
    return {name: getattr(m, key) for split, m in metrics.items() for key, name in measures_of(split).items()}


def measures_of(split: str) -> dict[str, str]:
    """Return what a history line has of a split: measure -> its name there."""
    return {key: f"{split}_{key}" for key in ("worst", "average", "weighted_average")}


def copy_state(network: nn.Module) -> dict[str, Tensor]:
    """Return a copy of a network's parameters and buffers, in memory."""
    return {name: value.detach().to("cpu", copy=True) for name, value in network.state_dict().items()}
