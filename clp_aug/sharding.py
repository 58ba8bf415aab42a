"""SHARD: which copies each meta original gets, and whether there is room for them."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clp_aug.contract.errors import InputError
from clp_aug.contract.schema import COUNTERFACTUAL, FACTUAL
from clp_aug.contract.seeds import rng_for


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

    Originals are dealt out class by class in a keyed random order, so that shares are equal within a class as well,
    to one picture. With one kind only, all copies are of that kind (the paper: always twice the originals).
    """
    lottery = np.array([rng_for(seed, int(i), "plan").random() for i in sample_ids])
    kinds = [kind for kind, fills in ((COUNTERFACTUAL, cf), (FACTUAL, f)) if fills]
    fills = {COUNTERFACTUAL: cf, FACTUAL: f}
    dealt = {COUNTERFACTUAL: 0, FACTUAL: 0}
    copies: list[list[Copy]] = [[] for _ in labels]
    for rank, i in enumerate(np.lexsort((lottery, labels))):
        for number in range(ratio):
            kind = kinds[(rank + number) % len(kinds)]
            copies[i].append(Copy(kind, fills[kind][dealt[kind] % len(fills[kind])], number))
            dealt[kind] += 1
        copies[i].sort(key=lambda copy: (copy.kind, copy.number))
    return copies


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
