"""REPORT: several runs picture by picture, from their tables of predictions: confusions, and where runs differ.

For a variant of several runs, the share of its runs that are right on a picture counts.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from clp_aug.common.files import disk_error
from clp_aug.contract.errors import InputError
from clp_train.evaluating.confusion import confusion
from clp_train.report.compare_runs import Runs
from clp_train.report.confusions import layout
from clp_train.report.table import MOST_GROUPS

NAMED = 12  # pictures that are listed by name, of each kind
COLUMNS = ("file", "label", "predicted")


class Answers(NamedTuple):
    """The predictions of the runs for one split. names: of the pictures; label: int64 (n,); part: int64 (n,), the
    group, or the class if groups are unknown, with part_names; predicted: int64 (R, n), of each run.
    """

    names: Sequence[str]
    label: np.ndarray
    part: np.ndarray
    part_names: Sequence[str]
    predicted: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """Whether each run is right on each picture: bool (R, n)."""
        return self.predicted == self.label


def answers_of(runs: Runs, split: str) -> Answers | str:
    """Return the predictions of all runs for a split, or a reason why they are unknown.

    Raises InputError for a table of another kind.
    """
    paths = [run.folder / f"predictions-{split}.csv" for run in runs.runs]
    missing = [path for path in paths if not path.exists()]
    if missing:
        return f"{missing[0]} does not exist; the command of that run with --resume makes it"
    tables = [read_answers(path, runs.first["class_names"]) for path in paths]
    names, label, groups, _ = tables[0]
    for path, table in zip(paths, tables, strict=True):
        if table[0] != names or not np.array_equal(table[1], label):
            return f"{path} holds other pictures than {paths[0]}"
    if not names:
        return f"{paths[0]} has no pictures"
    known = runs.first["has_groups"] and groups is not None and set(groups) <= set(runs.first["group_names"])
    part_names = list(runs.first["group_names"] if known else runs.first["class_names"])
    part = np.array([part_names.index(name) for name in groups]) if known and groups is not None else label
    return Answers(names, label, part, part_names, np.stack([table[3] for table in tables]))


def read_answers(path: Path, class_names: Sequence[str]) -> tuple[list[str], np.ndarray, list[str] | None, np.ndarray]:
    """Return names, labels, groups if known, and predicted classes from a table that clp-train wrote.

    Raises InputError for another file.
    """
    index = {name: c for c, name in enumerate(class_names)}
    try:
        with open(path, encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if not set(COLUMNS) <= set(reader.fieldnames or ()):
                raise ValueError(f"no columns {', '.join(COLUMNS)}")
            has_groups = "group" in (reader.fieldnames or ())
            rows = [
                (line["file"], index[line["label"]], line.get("group"), index[line["predicted"]]) for line in reader
            ]
    except OSError as error:
        raise disk_error(path, error, "read") from None
    except (KeyError, ValueError, csv.Error) as error:
        raise InputError(f"{path}: no predictions of this run ({type(error).__name__}: {error}); remove it") from None
    names, label, group, predicted = (list(column) for column in zip(*rows, strict=True)) if rows else ([],) * 4
    groups = [str(name) for name in group] if has_groups else None
    return [str(name) for name in names], np.array(label, np.int64), groups, np.array(predicted, np.int64)


def confusions(runs: Runs, answers: Answers, split: str) -> list[dict[str, Any]]:
    """Return the confusions of each variant, with the counts of all its runs added."""
    found = []
    for variant in runs.variants:
        counts = sum((matrix(answers, i, runs) for i in variant.runs), start=torch.tensor(0))
        count = f", {len(variant.runs)} runs together" if len(variant.runs) > 1 else ""
        found.append({"name": f"{variant.name}{count}", **layout(counts, runs.first["class_names"], split)})
    return found


def matrix(answers: Answers, run: int, runs: Runs) -> Tensor:
    """Return the confusion matrix of one run, int64 (C, C)."""
    columns = torch.from_numpy(answers.predicted[run]), torch.from_numpy(answers.label)
    return confusion(*columns, len(runs.first["class_names"]))


def agreement(answers: Answers) -> dict[str, int]:
    """Return the numbers of pictures on which all runs are right, all are wrong, or some are right, and on which
    answers differ.
    """
    right = answers.right
    every, some = right.all(0), right.any(0)
    return {
        "pictures": len(answers.names),
        "all right": int(every.sum()),
        "all wrong": int((~some).sum()),
        "some right": int((some & ~every).sum()),
        "different answers": int((answers.predicted != answers.predicted[0]).any(0).sum()),
    }


def disagreements(runs: Runs, answers: Answers) -> list[dict[str, Any]]:
    """Return how each further variant differs from the first one: pictures gained and lost, by part and by name.

    A picture is gained if a larger share of the variant's runs is right on it than of the first variant's runs, and
    lost if a smaller share is. The names are those with the largest difference, in the order of the table. Source:
    ours.
    """
    shares = np.stack([answers.right[list(variant.runs)].mean(0) for variant in runs.variants])
    found = []
    for v, variant in enumerate(runs.variants[1:], 1):
        change = shares[v] - shares[0]
        gained, lost = change > 0, change < 0
        found.append(
            {
                "name": variant.name,
                "against": runs.variants[0].name,
                "gained": int(gained.sum()),
                "lost": int(lost.sum()),
                "parts": by_part(answers, gained, lost),
                "named": [
                    (title, [entry(runs, answers, v, i) for i in largest(change * sign)])
                    for title, sign in (("gained", 1), ("lost", -1))
                ],
            }
        )
    return found


def by_part(answers: Answers, gained: np.ndarray, lost: np.ndarray) -> list[tuple[str, int, int, int]]:
    """Return (name, pictures, gained, lost) of each part; of many parts only those with the most changes."""
    counts = [np.bincount(answers.part[chosen], minlength=len(answers.part_names)).tolist() for chosen in
              (np.ones_like(gained), gained, lost)]  # fmt: skip
    rows = list(zip(answers.part_names, *counts, strict=True))
    if len(rows) > MOST_GROUPS:
        rows = sorted(rows, key=lambda row: -(row[2] + row[3]))[:MOST_GROUPS]
    return rows


def largest(change: np.ndarray) -> list[int]:
    """Return the indices of at most NAMED values above zero, the largest first; equal ones keep their order."""
    order = np.argsort(-change, kind="stable")[:NAMED]
    return [int(i) for i in order if change[i] > 0]


def entry(runs: Runs, answers: Answers, v: int, i: int) -> dict[str, str]:
    """Return the page's values for a picture: its name, its class, and the predictions of both variants."""
    return {
        "file": answers.names[i],
        "what": answers.part_names[int(answers.part[i])],
        "first": taken_for(runs, answers, 0, i),
        "second": taken_for(runs, answers, v, i),
    }


def taken_for(runs: Runs, answers: Answers, v: int, i: int) -> str:
    """Return the classes that the runs of a variant predict for a picture, for several runs with their number."""
    members = runs.variants[v].runs
    classes, counts = np.unique(answers.predicted[list(members), i], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    names = [runs.first["class_names"][int(classes[k])] for k in order]
    if len(members) == 1:
        return str(names[0])
    return ", ".join(f"{name} ({counts[k]} of {len(members)})" for name, k in zip(names, order, strict=True))
