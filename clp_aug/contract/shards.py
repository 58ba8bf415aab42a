"""Write a shard at once, read it lazily: one HDF5 file, one picture a chunk, the same bytes for the same input."""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import h5py
import numpy as np

from clp_aug.contract.blank import Blank, lay_out
from clp_aug.contract.errors import InputError
from clp_aug.contract.files import written_beside
from clp_aug.contract.schema import FIELDS, Header
from clp_aug.contract.validate import check_shard, open_shard


def write_shard(
    path: Path, header: Header, tables: dict[str, np.ndarray], pictures: dict[str, Iterable[np.ndarray]]
) -> None:
    """Write one shard under its final name only when it is complete.

    tables: every small data set of the contract by name, whole; pictures: "meta/images" and, if wanted,
    "look/matte", each as blocks (n, H, W[, 3]) uint8 in row order, so memory stays that of one block.
    Raises InputError when the blocks do not add up to the tables' rows, or the disk refuses.
    """
    streams = {name: iter(blocks) for name, blocks in pictures.items()}
    head = {name: next(blocks, None) for name, blocks in streams.items()}
    sizes = {"N": len(tables["meta/label"]), "M": len(tables["train/sample_id"])}
    sizes |= dict(zip("HW", head["meta/images"].shape[1:3], strict=True), K=len(tables.get("look/sample_id", ())))
    with written_beside(path) as temporary:
        lay_out(temporary, header, [name for name in FIELDS if name in tables or name in pictures], sizes)
        with Blank(temporary) as blank:
            for name, values in tables.items():
                blank.fill(name, 0, values)
            for name, blocks in streams.items():
                _fill_pictures(blank, name, sizes, chain([] if head[name] is None else [head[name]], blocks))


def _fill_pictures(blank: Blank, name: str, sizes: dict[str, int], blocks: Iterable[np.ndarray]) -> None:
    rows, *shape = (sizes.get(side, side) for side in FIELDS[name].shape)
    done = 0
    for block in blocks:
        if block.shape[1:] != tuple(shape) or block.dtype != np.uint8:
            raise InputError(f"{name}: a block of {block.dtype} {block.shape[1:]} came, expected uint8 {tuple(shape)}")
        if done + len(block) > rows:
            raise InputError(f"{name}: more than {rows} pictures came for {rows} rows of the tables")
        blank.fill(name, done, block)
        done += len(block)
    if done != rows:
        raise InputError(f"{name}: {done} pictures came for {rows} rows of the tables")


class ShardReader:
    """One checked shard: small tables in memory, pictures read one by one when asked for.

    header: Header; tables: the small data sets by name, e.g. tables["meta/label"]; shape: (N, H, W, 3).
    Safe to pickle and to fork: a handle belongs to the process that opened it.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.header, self.shape, self.tables = check_shard(self.path)
        self._handle: tuple[int, h5py.File] | None = None

    def __len__(self) -> int:
        return self.shape[0]

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_handle": None}

    def _file(self) -> h5py.File:
        if self._handle is None or self._handle[0] != os.getpid():
            self._handle = (os.getpid(), open_shard(self.path))
        return self._handle[1]

    def _read(self, name: str, i: int) -> np.ndarray:
        try:
            return self._file()[name][i]
        except OSError:  # fletcher32 found a flipped byte: only this picture is lost
            raise InputError(f"shard {self.path}: /{name}[{i}] is damaged; make the shard again") from None

    def image(self, i: int) -> np.ndarray:
        """Return meta picture i: uint8 (H, W, 3) RGB. Raises InputError when its checksum does not match."""
        return self._read("meta/images", i)

    def matte(self, i: int) -> np.ndarray | None:
        """Return the matte of the original at row i of look/sample_id: uint8 (H, W), 255 = foreground."""
        return self._read("look/matte", i) if "look/sample_id" in self.tables else None

    def images(self) -> np.ndarray:
        """Return all meta pictures: uint8 (N, H, W, 3); for shards that fit in memory."""
        out = np.empty(self.shape, np.uint8)
        for i in range(len(self)):
            out[i] = self.image(i)
        return out

    def verify(self) -> None:
        """Read every picture once, so that every checksum is compared. Raises InputError at the first bad one."""
        for i in range(len(self)):
            self.image(i)
        for i in range(len(self.tables.get("look/sample_id", ()))):
            self.matte(i)
