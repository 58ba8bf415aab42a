"""SHARD: which rows the meta set gets, in which order, and the staging that a killed run goes on from.

A stage saves each finished block as its own file beside the shard, atomically; the shard is put together from them
at the end. So a kill loses at most the blocks under way, and the bytes do not depend on who made which block.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from clp_aug.contract.errors import InputError, UsageError
from clp_aug.contract.schema import COUNTERFACTUAL, FACTUAL
from clp_aug.contract.seeds import rng_for
from clp_aug.contract.shards import write_block, written_beside

RESUME, OVERWRITE = "--resume", "--overwrite"


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


class Staging:
    """The folder of finished blocks of one run, beside its shard; `key` ties it to the run's settings and data.

    A block is a small HDF5 file with pictures as the shard has them: putting it together copies chunks unread, and
    a checksum made by the worker guards each picture to its last reader.
    """

    def __init__(self, shard: Path, key: dict, compression: str = "none") -> None:
        self.shard, self.key, self.compression = shard, key, compression
        self.folder = shard.with_name(shard.name + ".parts")
        self.manifest = self.folder / "run.json"

    def open(self, resume: bool, overwrite: bool) -> None:
        """Make the folder, or go on with the one that is there.

        Raises UsageError when the shard or an unfinished run stands in the way and neither flag says what to do, or
        when --resume meets other settings; InputError when the folder cannot be written.
        """
        if self.shard.exists() and not overwrite:
            raise UsageError(f"{self.shard} exists; use it, or give {OVERWRITE}, or another --out")
        if self.folder.exists() and not (resume or overwrite):
            raise UsageError(
                f"{self.folder} holds an unfinished run; give {RESUME} to go on or {OVERWRITE} to start anew"
            )
        if self.folder.exists() and overwrite:
            self.remove()
        if self.folder.exists() and self.manifest.exists():
            self._compare()
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with written_beside(self.manifest) as temporary:
                temporary.write_text(json.dumps(self.key, sort_keys=True, indent=1))
        except OSError as error:
            raise InputError(f"cannot write to {self.folder.parent} ({error.strerror}); choose another --out") from None

    def _compare(self) -> None:
        try:
            found = json.loads(self.manifest.read_bytes())
        except (OSError, ValueError):
            raise InputError(f"{self.manifest} is damaged; give {OVERWRITE} to start anew") from None
        wanted = json.loads(json.dumps(self.key))
        other = [name for name in sorted({*found, *wanted}) if found.get(name) != wanted.get(name)]
        if other:
            name = other[0]
            raise UsageError(
                f"{self.folder} is of a run with {name} = {found.get(name)!r}, now {wanted.get(name)!r};"
                f" give {OVERWRITE} to start anew, or another --out"
            )

    def path(self, stage: str, number: int) -> Path:
        """Return the file of one block."""
        return self.folder / f"{stage}-{number:06d}.h5"

    def has(self, stage: str, number: int) -> bool:
        """Tell whether a block is finished."""
        return self.path(stage, number).exists()

    def save(self, stage: str, number: int, arrays: dict[str, np.ndarray]) -> None:
        """Save one finished block: tables (n, ...) and pictures (n, H, W[, 3])."""
        write_block(self.path(stage, number), arrays, self.compression)

    def stream(self, stage: str, blocks: int, name: str) -> Iterator[h5py.Dataset]:
        """Yield one data set of each block in turn, unread. Raises InputError when a block's file is damaged."""
        for number in range(blocks):
            path = self.path(stage, number)
            try:
                with h5py.File(path, "r", locking=False) as block:
                    yield block[name]
            except (OSError, KeyError) as error:
                raise InputError(f"{path} is damaged ({error}); remove it and give {RESUME}") from None

    def table(self, stage: str, blocks: int, name: str) -> np.ndarray:
        """Return one data set of all blocks of a stage, end to end."""
        return np.concatenate([part[...] for part in self.stream(stage, blocks, name)])

    def remove_if_empty(self) -> None:
        """Remove the folder of a run that failed before it had finished a block: there is nothing to go on from."""
        if self.folder.exists() and not any(self.folder.glob("*.h5")):
            self.remove()

    def remove(self) -> None:
        """Remove the folder; the shard is complete, or the run starts anew."""
        shutil.rmtree(self.folder)


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
