"""Read a shard lazily: one HDF5 file, one picture per chunk."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from clp_aug.contract.damage import UNREADABLE
from clp_aug.contract.digests import picture_digest
from clp_aug.contract.errors import InputError
from clp_aug.contract.schema import DIGESTS, SEAL
from clp_aug.contract.validate import check_shard, open_shard

MOST_AT_ONCE, BYTES_AT_ONCE = 64, 4 << 20  # largest block that is read at once: in pictures, in bytes


def untold(done: int) -> None:
    """Report no progress."""


class ShardReader:
    """One checked shard: small tables in memory, pictures read one by one on request.

    header: Header; tables: the small data sets by name, e.g. tables["meta/label"]; digests: of the pictures, by the
    name of the pictures' data set, empty for a shard of version 1.0; shape: (N, H, W, 3). Safe to pickle and to fork: a
    handle belongs to the process that opened it.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.header, self.shape, tables = check_shard(self.path)
        self.digests = {name: tables.pop(digest) for name, digest in DIGESTS.items() if digest in tables}
        tables.pop(SEAL, None)
        self.tables = tables
        self._handle: tuple[int, h5py.File, dict[str, h5py.Dataset]] | None = None

    def __len__(self) -> int:
        return self.shape[0]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handle": None}

    def _repr_html_(self) -> str:
        """Return what a notebook shows of the shard."""
        from clp_aug.contract.notebook import shard_html

        return shard_html(self)

    def _pictures(self, name: str) -> h5py.Dataset:
        if self._handle is None or self._handle[0] != os.getpid():
            file = open_shard(self.path)
            self._handle = os.getpid(), file, {each: file[each] for each in DIGESTS if each in file}
        return self._handle[2][name]

    def _read(self, name: str, i: int) -> np.ndarray:
        try:
            picture: np.ndarray = self._pictures(name)[i]
        except UNREADABLE:  # fletcher32 found a flipped byte, or the disk refuses: only this picture is lost
            raise self._damaged(name, i) from None
        if name in self.digests and picture_digest(picture) != self.digests[name][i]:
            raise self._damaged(name, i)
        return picture

    def _damaged(self, name: str, i: int) -> InputError:
        return InputError(f"shard {self.path}: /{name}[{i}] is damaged; make the shard again")

    def image(self, i: int) -> np.ndarray:
        """Return meta picture i: uint8 (H, W, 3) RGB. Raises InputError if checksum or digest do not fit."""
        return self._read("meta/images", i)

    def matte(self, i: int) -> np.ndarray | None:
        """Return the matte of the original at row i of look/sample_id: uint8 (H, W), 255 = foreground."""
        return self._read("look/matte", i) if "look/sample_id" in self.tables else None

    def images(self) -> np.ndarray:
        """Return all meta pictures: uint8 (N, H, W, 3); for shards that fit in memory."""
        out = np.empty(self.shape, np.uint8)
        for start, pictures in self._blocks("meta/images", 0, len(self)):
            out[start : start + len(pictures)] = pictures
        return out

    def verify(self, advance: Callable[[int], None] = untold) -> None:
        """Read every picture once and compare every digest. Raises InputError for the first that does not fit.

        advance: called with the number of pictures and mattes read since the last call; `stored` is their total.
        """
        for name, rows in self.pictures().items():
            for _, pictures in self._blocks(name, 0, rows):
                advance(len(pictures))

    def verify_rows(self, name: str, start: int, stop: int) -> int:
        """Verify some rows of one data set of pictures, as `verify` does all; return their number."""
        for _ in self._blocks(name, start, stop):
            pass
        self.close()
        return stop - start

    def pictures(self) -> dict[str, int]:
        """Return how many rows each data set of pictures has, by name; 0 for a missing one."""
        return {"meta/images": len(self), "look/matte": self.mattes}

    def close(self) -> None:
        """Close the file; the next read opens it again."""
        if self._handle is not None and self._handle[0] == os.getpid():
            self._handle[1].close()
        self._handle = None

    @property
    def mattes(self) -> int:
        """How many mattes it holds, for people to look at."""
        return len(self.tables.get("look/sample_id", ()))

    @property
    def stored(self) -> int:
        """How many pictures it holds, including mattes."""
        return len(self) + self.mattes

    def _blocks(self, name: str, first: int, last: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the first row and the pictures, uint8 (n, ...), of each block in turn: memory stays constant."""
        most = max(1, min(MOST_AT_ONCE, BYTES_AT_ONCE // math.prod(self.shape[1:])))
        for start in range(first, last, most):
            yield start, self._block(name, start, min(start + most, last))

    def _block(self, name: str, start: int, stop: int) -> np.ndarray:
        try:
            pictures: np.ndarray = self._pictures(name)[start:stop]
        except UNREADABLE:  # one by one, to say which
            return np.stack([self._read(name, i) for i in range(start, stop)])
        if name in self.digests:
            found = np.array([picture_digest(picture) for picture in pictures], np.uint64)
            for i in np.flatnonzero(found != self.digests[name][start:stop]).tolist():
                raise self._damaged(name, start + i)
        return pictures
