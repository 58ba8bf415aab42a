"""Read a shard lazily: one HDF5 file, one picture a chunk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from clp_aug.contract.damage import UNREADABLE
from clp_aug.contract.digests import picture_digest
from clp_aug.contract.errors import InputError
from clp_aug.contract.schema import DIGESTS, SEAL
from clp_aug.contract.validate import check_shard, open_shard


class ShardReader:
    """One checked shard: small tables in memory, pictures read one by one when asked for.

    header: Header; tables: the small data sets by name, e.g. tables["meta/label"]; digests: of the pictures, by the
    name of the pictures' data set, none in a shard of version 1.0; shape: (N, H, W, 3).
    Safe to pickle and to fork: a handle belongs to the process that opened it.
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
        """Return meta picture i: uint8 (H, W, 3) RGB. Raises InputError when checksum or digest do not fit."""
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
        """Read every picture once and compare every digest. Raises InputError at the first that does not fit."""
        for i in range(len(self)):
            self.image(i)
        for i in range(len(self.tables.get("look/sample_id", ()))):
            self.matte(i)
