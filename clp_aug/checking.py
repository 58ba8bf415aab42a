"""CHECK: can every picture be read that the run, or training on its shard, is going to open?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial

import numpy as np

from clp_aug.config import AugmentConfig
from clp_aug.contract.errors import InputError
from clp_aug.datasets.base import Dataset, FileDataset
from clp_aug.datasets.unreadable import Unreadable, find_unreadable, refusal, without_unreadable
from clp_aug.engines import ENGINES, Map, default_engine

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""(stage, pictures) -> context whose value is called with the pictures done since the last call."""
LOOK_BLOCK = 64


def no_progress(stage: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
    """Show nothing."""
    return nullcontext(lambda done: None)


@dataclass(frozen=True)
class Look:
    """Some rows of the data set, int64 (n,), whose pictures are looked at before any work."""

    rows: np.ndarray

    def at(self, dataset: Dataset) -> list[Unreadable]:
        """Return which of the pictures cannot be read, and why."""
        return find_unreadable(dataset, self.rows)


def look(dataset: Dataset, block: Look) -> list[Unreadable]:
    """Look at some pictures of a data set: the task of workers that do nothing else."""
    return block.at(dataset)


def check_pictures(dataset: Dataset, rows: np.ndarray, work: Map, progress: Progress) -> None:
    """Raise InputError that lists the pictures of some rows, int64 (n,), which cannot be read; work: on `Look`s."""
    found = looked_at(dataset, rows, work, progress)
    if found:
        what = "it" if len(found) == 1 else "them"
        raise refusal(dataset, found, len(rows), f"leave {what} out with --skip-broken")


@contextmanager
def all_at_once(dataset: Dataset, config: AugmentConfig, progress: Progress) -> Iterator[None]:
    """Where one picture cannot be read inside, raise InputError that lists all of the data set that cannot."""
    try:
        yield
    except InputError:
        with workers_of(dataset, config) as work:
            check_pictures(dataset, all_rows(dataset), work, progress)
        raise


def readable(dataset: Dataset, config: AugmentConfig, progress: Progress) -> Dataset:
    """Return the data set without the pictures that cannot be read; all of it is looked at, for any split."""
    with workers_of(dataset, config) as work:
        return without_unreadable(dataset, looked_at(dataset, all_rows(dataset), work, progress))


def workers_of(dataset: Dataset, config: AugmentConfig) -> AbstractContextManager[Map]:
    """Return workers that look at pictures, before there are any that make a shard."""
    workers = min(config.workers, -(-len(dataset.samples.name) // LOOK_BLOCK))
    return ENGINES[config.engine or default_engine(workers)](partial(look, dataset), workers)


def all_rows(dataset: Dataset) -> np.ndarray:
    """Return every row, int64 (n,)."""
    return np.arange(len(dataset.samples.name))


def looked_at(dataset: Dataset, rows: np.ndarray, work: Map, progress: Progress) -> list[Unreadable]:
    """Return which pictures of some rows cannot be read; those that are made, or lie in one file, always can."""
    found: list[Unreadable] = []
    if isinstance(dataset, FileDataset):
        blocks = [Look(rows[at : at + LOOK_BLOCK]) for at in range(0, len(rows), LOOK_BLOCK)]
        with progress("CHECK pictures", len(rows)) as advance:
            for block, unreadable in zip(blocks, work(blocks), strict=True):
                found += unreadable
                advance(len(block.rows))
    return found
