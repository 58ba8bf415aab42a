"""CHECK: can every picture be read that the run, or a training on its shard, will open?"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial

import numpy as np

from clp_aug.config import AugmentConfig
from clp_aug.contract.errors import InputError
from clp_aug.datasets.base import Dataset, FileDataset
from clp_aug.datasets.names import some
from clp_aug.datasets.unreadable import Unreadable, find_unreadable, refusal, without_unreadable
from clp_aug.engines import Map, default_engine, engine_of
from clp_aug.engines.tasks import at_place

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""(stage, pictures) -> context whose value is called with the pictures done since the last call."""
LOOK_BLOCK = 64
BOXES_ALONE = 1 << 14  # boxes that one process checks in less time than other processes need to start


def no_progress(stage: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
    """Show nothing."""
    return nullcontext(lambda done: None)


@dataclass(frozen=True)
class Look:
    """Some rows of the data set, int64 (n,), whose pictures are looked at before any work."""

    rows: np.ndarray

    def at(self, dataset: Dataset) -> list[Unreadable]:
        """Return which of the pictures cannot be read, and why. Raises InputError if their folder does not exist."""
        check_root(dataset)
        return [(row, at_place(why)) for row, why in find_unreadable(dataset, self.rows)]


@dataclass(frozen=True)
class BoxLook:
    """Some rows of the data set, int64 (n,), whose boxes are looked at before any work."""

    rows: np.ndarray

    def at(self, dataset: Dataset) -> list[Unreadable]:
        """Return which of the boxes reached over the border of their picture, with the picture's name.

        Raises InputError for a box more than a pixel outside.
        """
        placed = ((row, dataset.placed_box(row)) for row in self.rows.tolist() if isinstance(dataset, FileDataset))
        return [(row, dataset.samples.name[row]) for row, box in placed if box is not None and box.clipped]


def check_root(dataset: Dataset) -> None:
    """Raise InputError if the folder of a data set does not exist; else every picture would be listed as broken."""
    root = dataset.root if isinstance(dataset, FileDataset) else None
    if root is not None and not root.is_dir():
        raise InputError(f"data set {dataset.name}: no folder {root}; give --root")


def look(dataset: Dataset, block: Look | BoxLook) -> list[Unreadable]:
    """Look at some pictures of a data set, or their boxes: the task of workers that do nothing else."""
    return block.at(dataset)


def check_pictures(dataset: Dataset, rows: np.ndarray, work: Map, progress: Progress) -> None:
    """Raise InputError that lists the unreadable pictures among some rows, int64 (n,). work: maps over `Look`s."""
    found = looked_at(dataset, rows, work, progress)
    if found:
        what = "it" if len(found) == 1 else "them"
        raise refusal(dataset, found, len(rows), f"leave {what} out with --skip-broken")


@contextmanager
def all_at_once(dataset: Dataset, config: AugmentConfig, progress: Progress) -> Iterator[None]:
    """If a picture cannot be read in the body, raise InputError that lists all unreadable pictures of the set."""
    try:
        yield
    except InputError:
        with workers_of(dataset, config) as work:
            check_pictures(dataset, all_rows(dataset), work, progress)
        raise


def readable(dataset: Dataset, config: AugmentConfig, progress: Progress) -> Dataset:
    """Return the data set without the pictures that cannot be read. All pictures are checked, of every split."""
    with workers_of(dataset, config) as work:
        return without_unreadable(dataset, looked_at(dataset, all_rows(dataset), work, progress))


def with_boxes_looked_at(dataset: Dataset, rows: np.ndarray, config: AugmentConfig, progress: Progress) -> Dataset:
    """Return the data set with a remark that counts the boxes of some rows, int64 (n,), which had to be clipped.

    Raises InputError for a box more than a pixel outside its picture, and for a picture that cannot be read.
    """
    if not isinstance(dataset, FileDataset) or not dataset.annotations.boxes:
        return dataset
    boxed = np.array([row for row in rows.tolist() if row in dataset.annotations.boxes], np.int64)
    blocks = [BoxLook(boxed[at : at + LOOK_BLOCK]) for at in range(0, len(boxed), LOOK_BLOCK)]
    clipped: list[Unreadable] = []
    if len(boxed) <= BOXES_ALONE and config.engine in (None, "processes"):
        config = dataclasses.replace(config, workers=1, engine=None)
    with workers_of(dataset, config) as work, progress("CHECK boxes", len(boxed)) as advance:
        for block, found in zip(blocks, work(blocks), strict=True):
            clipped += found
            advance(len(block.rows))
    if not clipped:
        return dataset
    annotated = copy.copy(dataset)
    names = some(name for _, name in clipped)
    remark = f"boxes that reached up to a pixel over their picture, clipped: {len(clipped):,} ({names})"
    annotated.remarks = (*dataset.remarks, remark)
    return annotated


def workers_of(dataset: Dataset, config: AugmentConfig) -> AbstractContextManager[Map]:
    """Return workers that look at pictures, before there are any that make a shard."""
    workers = min(config.workers, -(-len(dataset.samples.name) // LOOK_BLOCK))
    engine = engine_of(config.engine or default_engine(workers), config.address)
    return engine(partial(look, dataset), workers)


def all_rows(dataset: Dataset) -> np.ndarray:
    """Return every row, int64 (n,)."""
    return np.arange(len(dataset.samples.name))


def looked_at(dataset: Dataset, rows: np.ndarray, work: Map, progress: Progress) -> list[Unreadable]:
    """Return which pictures of some rows cannot be read. Generated pictures, and pictures in one file, always can."""
    found: list[Unreadable] = []
    if isinstance(dataset, FileDataset):
        blocks = [Look(rows[at : at + LOOK_BLOCK]) for at in range(0, len(rows), LOOK_BLOCK)]
        with progress("CHECK pictures", len(rows)) as advance:
            for block, unreadable in zip(blocks, work(blocks), strict=True):
                found += unreadable
                advance(len(block.rows))
    return found
