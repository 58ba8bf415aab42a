"""READ: find a split of a data set by its name."""

from __future__ import annotations

import numpy as np

from clp_aug.contract.errors import InputError, UsageError, listed, suggestion
from clp_aug.datasets.base import TEST, TRAIN, VAL, Dataset


def split_number(dataset: Dataset, name: str | None, option: str) -> int:
    """Return the number of a split with pictures; for None the first test split with pictures, else val, else train.

    option: of the command line, for messages. Raises UsageError for a split that does not exist, InputError for a split
    without pictures.
    """
    there = np.unique(dataset.samples.split).tolist()
    if name is None:
        return next(k for k in (*range(TEST, len(dataset.splits)), VAL, TRAIN) if k in there)
    if name not in dataset.splits:
        near = suggestion(dataset.splits, name)
        raise UsageError(f"{option} {name}: {near}data set {dataset.name} has {listed(dataset.splits)}")
    if dataset.splits.index(name) not in there:
        raise InputError(f"data set {dataset.name}: its split {name} has no pictures; choose another with {option}")
    return dataset.splits.index(name)
