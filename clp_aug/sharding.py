"""SHARD: the copies of each meta original, and a check of the disk space for them."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clp_aug.contract.draws import first_draws
from clp_aug.contract.errors import InputError
from clp_aug.contract.schema import COUNTERFACTUAL, FACTUAL

SHUFFLED = 1 << 16  # meta originals; a larger set draws its partners one by one


@dataclass(frozen=True)
class Copy:
    """One augmented picture to make: kind (1 counterfactual, 2 factual), fill by name, and which copy it is."""

    kind: int
    fill: str
    number: int


def plan_copies(
    labels: np.ndarray, sample_ids: np.ndarray, cf: tuple[str, ...], f: tuple[str, ...], ratio: int, seed: int
) -> list[list[Copy]]:
    """Return the copies of each original, in the originals' order: `ratio` each, kinds 1 : 1, fills in equal shares.

    Originals get their copies class by class in a keyed random order, so shares are equal within each class, too, up to
    one picture. With one kind only, all copies are of that kind (the paper: always twice the originals). Originals with
    equal copies share one list: do not change it.
    """
    order = np.lexsort((first_draws(seed, sample_ids, "plan"), labels))
    dealt = deal(cf, f, ratio)
    copies: list[list[Copy]] = [[]] * len(labels)
    for rank, i in enumerate(order.tolist()):
        copies[i] = dealt[rank % len(dealt)]
    return copies


def deal(cf: tuple[str, ...], f: tuple[str, ...], ratio: int) -> list[list[Copy]]:
    """Return the copies of originals in turn until the sequence repeats: all fills in equal shares."""
    kinds = [kind for kind, fills in ((COUNTERFACTUAL, cf), (FACTUAL, f)) if fills]
    fills = {COUNTERFACTUAL: cf, FACTUAL: f}
    dealt = {COUNTERFACTUAL: 0, FACTUAL: 0}
    round_: list[list[Copy]] = []
    for rank in range(max(len(kinds), 1) * math.lcm(max(len(cf), 1), max(len(f), 1))):
        copies = []
        for number in range(ratio):
            kind = kinds[(rank + number) % len(kinds)]
            copies.append(Copy(kind, fills[kind][dealt[kind] % len(fills[kind])], number))
            dealt[kind] += 1
        round_.append(sorted(copies, key=lambda copy: (copy.kind, copy.number)))
    return round_


def others_in_random_order(labels: np.ndarray, label: int, rng: np.random.Generator) -> Iterator[int]:
    """Return the rows of other labels in a random order, each once. labels: int64 (n,).

    Up to SHUFFLED rows are shuffled at once. With more rows a shuffle would take longer than making the copy, which
    needs only one or two rows. Then rows are drawn one by one on request, with the same generator but in another order.
    """
    if len(labels) <= SHUFFLED:
        return map(int, rng.permutation(np.flatnonzero(labels != label)))
    return (row for row in one_by_one(len(labels), rng) if labels[row] != label)


def one_by_one(rows: int, rng: np.random.Generator) -> Iterator[int]:
    """Yield 0 to rows - 1 in a random order. Memory grows with the rows taken (Fisher-Yates, from the end)."""
    moved: dict[int, int] = {}
    for last in range(rows - 1, -1, -1):
        at = int(rng.integers(last + 1))
        row, moved[at] = moved.get(at, at), moved.get(last, last)
        yield row


def check_space(folder: Path, needed: int) -> None:
    """Raise InputError unless the disk under `folder` has `needed` bytes free."""
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise InputError(
            f"{os.fspath(folder)}: {free / 1e6:,.0f} MB free, the run needs about {needed / 1e6:,.0f} MB;"
            " free some space or choose another --out"
        )
