"""REPORT: which classes are confused, from the tables of predictions beside a result."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clp_aug.common.files import disk_error
from clp_aug.contract.errors import InputError
from clp_train.evaluating.confusion import confusion, most_confused
from clp_train.predicting.table import read_labelled

MOST_CLASSES = 12  # of a matrix; with more classes only pairs are shown
MOST_PAIRS = 20


def confusions_in(folder: Path, result: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the confusion matrix of each test split of a run with stored predictions, or of val without test splits.

    Raises InputError for a table of another kind.
    """
    snapshot = result["selected"] or result["last"]
    splits = [split for split in snapshot["metrics"] if split != "val"] or ["val"]
    paths = {split: folder / f"predictions-{split}.csv" for split in splits}
    return {split: matrix_of(path, result["class_names"]) for split, path in paths.items() if path.exists()}


def matrix_of(path: Path, class_names: Sequence[str]) -> Tensor:
    """Return the confusion matrix of a table of predictions, int64 (C, C). Raises InputError for another file."""
    index = {name: c for c, name in enumerate(class_names)}
    try:
        with open(path, encoding="utf-8", newline="") as file:
            pairs = [(index[label], index[predicted]) for label, predicted in read_labelled(file)]
    except OSError as error:
        raise disk_error(path, error, "read") from None
    except (KeyError, ValueError, csv.Error) as error:
        raise InputError(f"{path}: no predictions of this run ({type(error).__name__}: {error}); remove it") from None
    label, predicted = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).unbind(1)
    return confusion(predicted, label, len(class_names))


def layout(counts: Tensor, class_names: Sequence[str], split: str) -> dict[str, Any]:
    """Return the page's values for a confusion matrix, int64 (C, C): the whole matrix if there are few classes, else
    the most confused pairs.
    """
    few = len(class_names) <= MOST_CLASSES
    totals = counts.sum(1).clamp(min=1)
    matrix = [
        {"name": name, "cells": [(n, n / total, c == k) for k, n in enumerate(row)]}
        for c, (name, row, total) in enumerate(zip(class_names, counts.tolist(), totals.tolist(), strict=True))
    ]
    pairs = [
        (class_names[p.label], class_names[p.predicted], f"{p.pictures} of {p.of}")
        for p in most_confused(counts, MOST_PAIRS)
    ]
    return {"split": split, "names": list(class_names), "matrix": matrix if few else [], "pairs": [] if few else pairs}
