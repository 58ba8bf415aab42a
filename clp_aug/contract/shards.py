"""Write a shard atomically, read it lazily: one HDF5 file, one picture a chunk, the same bytes for the same input."""

from __future__ import annotations

import dataclasses
import io
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from clp_aug.contract import schema
from clp_aug.contract.errors import InputError, pick
from clp_aug.contract.schema import FIELDS, Header
from clp_aug.contract.validate import check_shard, open_shard

COMPRESSIONS = {"none": None, "lzf": "lzf", "gzip": "gzip"}


@contextmanager
def written_beside(path: Path):
    """Yield a temporary name beside `path`; on success it is synced and renamed, on failure removed.

    Raises InputError when the disk refuses (full, read-only, no such folder).
    """
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise InputError(f"cannot write {path} ({error.strerror or error}); free space or choose another") from None
    finally:
        temporary.unlink(missing_ok=True)


class _Disk(io.FileIO):
    """A file that keeps its first error for `check` and swallows later writes: HDF5 crashes when it cannot tidy up."""

    failure: OSError | None = None

    def write(self, data) -> int:
        left = memoryview(data)
        try:
            while left and self.failure is None:  # a nearly full disk takes only a part
                left = left[super().write(left) :]
        except OSError as error:
            self.failure = error
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.failure = self.failure or error
            return size or 0

    def check(self) -> None:
        if self.failure is not None:
            raise self.failure


def write_shard(
    path: Path,
    header: Header,
    tables: dict[str, np.ndarray],
    pictures: dict[str, Iterable[np.ndarray]],
    compression: str = "none",
) -> None:
    """Write one shard under its final name only when it is complete.

    tables: every small data set of the contract by name, whole; pictures: "meta/images" and, if wanted,
    "look/matte", each as blocks (n, H, W[, 3]) uint8 in row order, so memory stays that of one block.
    Raises InputError when the blocks do not add up to the tables' rows.
    """
    rows = {"meta/images": len(tables["meta/label"]), "look/matte": len(tables.get("look/sample_id", ()))}
    with written_beside(path) as temporary, _Disk(temporary, "w+") as disk:
        with h5py.File(disk, "w", libver=("v110", "v110")) as file:
            _write_attributes(file, header)
            for name in FIELDS:
                if name in tables:
                    file.create_dataset(name, data=np.ascontiguousarray(tables[name], FIELDS[name].dtype))
                elif name in pictures:
                    filters = pick(COMPRESSIONS, compression, "compression")
                    for _ in _write_pictures(file, name, rows[name], pictures[name], filters):
                        disk.check()
        disk.check()


def _write_attributes(file: h5py.File, header: Header) -> None:
    values = dataclasses.asdict(header)
    for name in schema.INT_ATTRIBUTES:
        file.attrs[name] = values[name]
    for name in (*schema.TEXT_ATTRIBUTES, *schema.JSON_ATTRIBUTES):
        value = values[name]
        text = (json.dumps(value, sort_keys=True) if name in schema.JSON_ATTRIBUTES else value).encode()
        file.attrs.create(name, text, dtype=h5py.string_dtype("utf-8", max(1, len(text))))


def _write_pictures(file: h5py.File, name: str, rows: int, blocks: Iterable[np.ndarray], compression) -> Iterator[int]:
    """Write the blocks picture by picture; yield the number written after each block."""
    data, done, shape = None, 0, ()
    for block in blocks:
        if data is None:
            shape = block.shape[1:]
            data = file.create_dataset(
                name, (rows, *shape), "u1", chunks=(1, *shape), fletcher32=True, compression=compression
            )
        if block.shape[1:] != shape or block.dtype != np.uint8:
            raise InputError(f"{name}: a block of {block.dtype} {block.shape[1:]} came, expected uint8 {shape}")
        if done + len(block) > rows:
            raise InputError(f"{name}: more than {rows} pictures came for {rows} rows of the tables")
        for picture in block:  # one chunk a write: no chunk cache in between
            data[done] = picture
            done += 1
        yield done
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
