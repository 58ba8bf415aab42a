"""SHARD: which copies each meta original gets, and the folder that a killed run goes on from."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clp_aug.common.files import move, written_beside
from clp_aug.contract.blank import Blank
from clp_aug.contract.errors import InputError, UsageError
from clp_aug.contract.schema import COUNTERFACTUAL, FACTUAL
from clp_aug.contract.seeds import rng_for
from clp_aug.contract.shards import ShardReader

HDF5 = b"\x89HDF\r\n\x1a\n"  # what such a file starts with
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
    """The folder of an unfinished run, beside its shard: the shard laid out, and a mark for each finished block.

    `key` ties it to the run's settings and data, so that no other run goes on with it.
    """

    def __init__(self, shard: Path, key: dict[str, Any]) -> None:
        self.shard, self.key = shard, key
        self.folder = shard.with_name(shard.name + ".parts")
        self.manifest = self.folder / "run.json"
        self.blank = Blank(self.folder / "shard.h5")

    def open(self, resume: bool, overwrite: bool) -> bool:
        """Make the folder, or go on with the one that is there; return whether it is new.

        With both flags an unfinished run is gone on with: it was to replace the shard. Raises UsageError when the shard
        or an unfinished run stands in the way and neither flag says what to do, or when --resume meets other settings;
        InputError when the folder cannot be written.
        """
        if self.shard.is_dir():
            raise UsageError(f"--out {self.shard} is a folder; give the name of a file in it")
        if self.shard.exists() and not looks_like_a_shard(self.shard):
            raise UsageError(f"--out {self.shard} is a file of another kind, which is not replaced; give another --out")
        unfinished = self.manifest.exists() and self.blank.path.exists()
        if self.shard.exists() and not overwrite and not (resume and unfinished):
            raise UsageError(f"{self.shard} exists{self._difference()}, or give {OVERWRITE}, or another --out")
        if self.folder.exists() and not (resume or overwrite):
            raise UsageError(
                f"{self.folder} holds an unfinished run; give {RESUME} to go on or {OVERWRITE} to start anew"
            )
        if unfinished and resume:
            self._compare()
            return False
        try:
            if self.folder.exists():
                shutil.rmtree(self.folder)
            self.folder.mkdir(parents=True)
        except OSError as error:
            raise InputError(f"cannot write to {self.folder.parent} ({error.strerror}); choose another --out") from None
        return True

    def begin(self) -> None:
        """Write the run's key: from now on the folder can be gone on with."""
        with written_beside(self.manifest) as temporary:
            temporary.write_text(json.dumps(self.key, sort_keys=True, indent=1))

    def _compare(self) -> None:
        try:
            stored = json.loads(self.manifest.read_bytes())
        except (OSError, ValueError):
            raise InputError(f"{self.manifest} is damaged; give {OVERWRITE} to start anew") from None
        other = first_difference(stored, self.key, {*stored, *self.key})
        if other:
            raise UsageError(f"{self.folder} is of {other}; give {OVERWRITE} to start anew, or another --out")

    def _difference(self) -> str:
        """Return what to say of the shard that stands in the way: whether it is of these settings and data."""
        try:
            header = ShardReader(self.shard).header
        except InputError:
            return " and is damaged"
        stored = {**header.settings, "fingerprint": header.fingerprint}
        other = first_difference(stored, self.key, stored.keys() & self.key.keys())
        return f" and is of {other}: rename it" if other else "; use it"

    def _mark(self, stage: str, number: int) -> Path:
        return self.folder / f"{stage}-{number:06d}.done"

    def has(self, stage: str, number: int) -> bool:
        """Tell whether a block is finished."""
        return self._mark(stage, number).exists()

    def mark(self, stage: str, number: int) -> None:
        """Note that a block is finished."""
        self._mark(stage, number).touch()

    def publish(self) -> None:
        """Give the complete shard its name, and remove the folder."""
        self.blank.close()
        move(self.blank.path, self.shard)
        self.remove()

    def remove_if_empty(self) -> None:
        """Remove the folder of a run that failed before it had finished a block: there is nothing to go on from."""
        if self.folder.exists() and not any(self.folder.glob("*.done")):
            self.remove()

    def remove(self) -> None:
        """Remove the folder; the shard is complete, or the run starts anew."""
        shutil.rmtree(self.folder)


def looks_like_a_shard(path: Path) -> bool:
    """Whether a file is an HDF5 file, or has nothing in it."""
    with open(path, "rb") as file:
        return file.read(len(HDF5)) in (HDF5, b"")


def first_difference(stored: dict[str, Any], current: dict[str, Any], names: Collection[str]) -> str:
    """Return the first setting, by name, in which a stored run differs from the current one, in words; "" for none."""
    current = json.loads(json.dumps(current))
    for name in sorted(names):
        if stored.get(name) != current.get(name):
            if name == "fingerprint":
                return "a run on other pictures: names, labels or splits have changed since"
            return f"a run with {name} = {stored.get(name)!r}, now {current.get(name)!r}"
    return ""


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
