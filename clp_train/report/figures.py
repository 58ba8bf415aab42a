"""REPORT: the figures of clp-predict as tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from rich.table import Table

from clp_train.evaluating.confusion import most_confused
from clp_train.report.confusions import MOST_CLASSES
from clp_train.report.table import MOST_GROUPS, percent, shown, worst_name

MOST_PAIRS = 10


def accuracy_of_pictures(found: Mapping[str, Any]) -> Table:
    """Lay out the metrics of pictures with labels: one row per group, unless there are too many, then the worst and the
    averages.

    found: as `clp_train.predicting.figures.figures` returns it.
    """
    metrics, names = found["metrics"], found["group_names"]
    table = Table()
    table.add_column("group" if found["has_groups"] else "class")
    table.add_column("pictures", justify="right")
    table.add_column("accuracy", justify="right")
    rows = list(zip(names, metrics["group_counts"], metrics["per_group"], strict=True))
    rows = rows if len(rows) <= MOST_GROUPS else []
    for i, (name, count, accuracy) in enumerate(rows):
        table.add_row(shown(name), str(count), percent(accuracy), end_section=i + 1 == len(rows))
    for name, accuracy in metrics["strata"].items():
        table.add_row(shown(name), "", percent(accuracy))
    table.add_row(worst_name(dict(found)), "", percent(metrics["worst"]))
    table.add_row("average (top-1)", str(found["pictures"]), percent(metrics["average"]))
    table.add_row("average, weighted as in training", "", percent(metrics["weighted_average"]))
    return table


def confusion_table(counts: Sequence[Sequence[int]], class_names: Sequence[str]) -> Table:
    """Lay out which classes are confused: the matrix, or for many classes the most confused pairs."""
    table = Table()
    table.add_column("class")
    if len(class_names) <= MOST_CLASSES:
        for name in class_names:
            table.add_column(shown(f"taken for {name}"), justify="right")
        for name, row in zip(class_names, counts, strict=True):
            table.add_row(shown(name), *map(str, row))
        return table
    table.add_column("taken for")
    table.add_column("pictures", justify="right")
    for pair in most_confused(torch.tensor(counts), MOST_PAIRS):
        names = (shown(class_names[c]) for c in (pair.label, pair.predicted))
        table.add_row(*names, f"{pair.pictures} of {pair.of}")
    return table
