"""READ: pictures that cannot be read, all of them at once, and a data set without them."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from clp_aug.contract.errors import InputError
from clp_aug.datasets.base import TRAIN, Dataset, FileDataset, Samples
from clp_aug.datasets.names import some

LISTED = 10  # pictures that a message names
MOST_BYTES = 1 << 20  # of the names that a shard keeps
Unreadable = tuple[int, str]
"""The row of a picture, and the reason in one line why it cannot be read."""


def find_unreadable(dataset: Dataset, rows: Iterable[int]) -> list[Unreadable]:
    """Return which of some rows hold pictures that cannot be read, and why."""
    found = []
    for row in rows:
        try:
            dataset.check_picture(int(row))
        except InputError as error:
            found.append((int(row), str(error)))
    return found


def refusal(dataset: Dataset, found: Sequence[Unreadable], looked_at: int, remedy: str) -> InputError:
    """Return the error with the number of unreadable pictures and the names of the first.

    looked_at: number of pictures that were checked; remedy: a further remedy in the caller's words, or "".
    """
    remedy = f", or {remedy}" if remedy else ""
    if len(found) == 1:
        return InputError(found[0][1] + remedy)
    reasons = [why.rpartition("; ")[0] or why for _, why in found[:LISTED]]
    more = f" ... and {len(found) - LISTED:,} more" if len(found) > LISTED else ""
    return InputError(
        f"data set {dataset.name}: {len(found):,} of {looked_at:,} pictures cannot be read: {', '.join(reasons)}{more};"
        f" replace them or remove them{remedy}"
    )


@contextmanager
def all_listed(dataset: Dataset, rows: np.ndarray, remedy: str) -> Iterator[None]:
    """If the body meets an unreadable picture, raise InputError with all unreadable pictures of some rows, int64 (n,).

    remedy: as in `refusal`.
    """
    try:
        yield
    except InputError:
        found = find_unreadable(dataset, rows)
        if found:
            raise refusal(dataset, found, len(rows), remedy) from None
        raise


def without_unreadable(dataset: Dataset, found: Sequence[Unreadable]) -> Dataset:
    """Return the data set without the found pictures, and with a remark on their number.

    Raises InputError if a class has no training picture left, or if a shard cannot store so many names.
    """
    names = [dataset.samples.name[row] for row, _ in found]
    if not names:
        return dataset
    if len(json.dumps(names)) > MOST_BYTES:
        raise refusal(dataset, found, len(dataset.samples.name), "")
    thinner = leave_out(dataset, names)
    label = [each.samples.label[each.samples.split == TRAIN] for each in (dataset, thinner)]
    for c in np.setdiff1d(*label):
        raise InputError(
            f"data set {dataset.name}: no training picture of class {dataset.class_names[c]} can be read, e.g."
            f" {next(why for row, why in found if dataset.samples.label[row] == c)}"
        )
    thinner.remarks = (
        *thinner.remarks,
        f"pictures left out because they cannot be read: {len(names):,} ({some(names)})",
    )
    return thinner


def leave_out(dataset: Dataset, names: Iterable[str]) -> Dataset:
    """Return a data set of files without the pictures of some names; ids, masks, boxes and strata stay with theirs.

    Unknown names are ignored: the fingerprint shows whether the rest is the same. Raises InputError for a data set
    without picture files.
    """
    gone = set(names)
    if not gone:
        return dataset
    if not isinstance(dataset, FileDataset):
        raise InputError(f"data set {dataset.name}: it has no picture files, so none can be left out")
    samples = dataset.samples
    keep = np.array([row for row, name in enumerate(samples.name) if name not in gone], np.int64)
    new_row = {int(old): new for new, old in enumerate(keep)}
    thinner = copy.copy(dataset)
    thinner.samples = Samples(
        samples.sample_id[keep], samples.label[keep], samples.group[keep], samples.split[keep],
        [samples.name[row] for row in keep],
    )  # fmt: skip
    thinner.annotations = dataset.annotations.of_rows(new_row)
    thinner.strata = {kind: (titles, index[keep]) for kind, (titles, index) in dataset.strata.items()}
    thinner.left_out = tuple(sorted(gone))
    thinner.check()
    return thinner
