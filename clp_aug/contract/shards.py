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
def written_beside(path: Path, synced: bool = True):
    """Yield a temporary name beside `path`; on success it is synced and renamed, on failure removed.

    Without the sync, which costs milliseconds, the file survives a kill of the process but not a power cut.
    Raises InputError when the disk refuses (full, read-only, no such folder).
    """
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    try:
        yield temporary
        if synced:
            _sync(temporary)
        os.replace(temporary, path)
        if synced:
            _sync(path.parent)
    except OSError as error:
        raise InputError(f"cannot write {path} ({error.strerror or error}); free space or choose another") from None
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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


@contextmanager
def new_file(path: Path, synced: bool = True):
    """Yield a new HDF5 file and its disk; it appears under `path` only when it is complete."""
    with written_beside(path, synced) as temporary, _Disk(temporary, "w+") as disk:
        with h5py.File(disk, "w", libver=("v110", "v110")) as file:
            yield file, disk
        disk.check()


def write_shard(
    path: Path,
    header: Header,
    tables: dict[str, np.ndarray],
    pictures: dict[str, Iterable[np.ndarray | h5py.Dataset]],
    compression: str = "none",
) -> None:
    """Write one shard under its final name only when it is complete.

    tables: every small data set of the contract by name, whole; pictures: "meta/images" and, if wanted,
    "look/matte", each as blocks (n, H, W[, 3]) uint8 in row order, so memory stays that of one block; a block that
    is an HDF5 data set of `write_block` is copied as it lies there. Raises InputError when the blocks do not add up
    to the tables' rows.
    """
    rows = {"meta/images": len(tables["meta/label"]), "look/matte": len(tables.get("look/sample_id", ()))}
    filters = pick(COMPRESSIONS, compression, "compression")
    with new_file(path) as (file, disk):
        _write_attributes(file, header)
        for name in FIELDS:
            if name in tables:
                file.create_dataset(name, data=np.ascontiguousarray(tables[name], FIELDS[name].dtype))
            elif name in pictures:
                for _ in _write_pictures(file, name, rows[name], pictures[name], filters):
                    disk.check()


def write_block(path: Path, arrays: dict[str, np.ndarray], compression: str = "none") -> None:
    """Write some rows of a shard as a file of their own, atomically: tables whole, pictures as a shard has them."""
    filters = pick(COMPRESSIONS, compression, "compression")
    with new_file(path, synced=False) as (file, disk):
        for name, values in arrays.items():
            if values.ndim < 3:
                file.create_dataset(name, data=values)
            else:
                for _ in _write_pictures(file, name, len(values), [values], filters):
                    disk.check()


def _write_attributes(file: h5py.File, header: Header) -> None:
    values = dataclasses.asdict(header)
    for name in schema.INT_ATTRIBUTES:
        file.attrs[name] = values[name]
    for name in (*schema.TEXT_ATTRIBUTES, *schema.JSON_ATTRIBUTES):
        value = values[name]
        text = (json.dumps(value, sort_keys=True) if name in schema.JSON_ATTRIBUTES else value).encode()
        file.attrs.create(name, text, dtype=h5py.string_dtype("utf-8", max(1, len(text))))


def _write_pictures(file: h5py.File, name: str, rows: int, blocks: Iterable, compression) -> Iterator[int]:
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
        copy = _copy_chunks if isinstance(block, h5py.Dataset) else _write_chunks
        copy(data, done, block)
        done += len(block)
        yield done
    if done != rows:
        raise InputError(f"{name}: {done} pictures came for {rows} rows of the tables")


def _write_chunks(data: h5py.Dataset, start: int, block: np.ndarray) -> None:
    """Write one chunk a picture, through HDF5's own call: half the cost of `data[i] = picture`."""
    one = (1, *data.shape[1:])
    memory, place = h5py.h5s.create_simple(one), data.id.get_space()
    for i, picture in enumerate(np.ascontiguousarray(block)):
        place.select_hyperslab((start + i, *[0] * (data.ndim - 1)), one)
        data.id.write(memory, place, picture[None])


def _copy_chunks(data: h5py.Dataset, start: int, block: h5py.Dataset) -> None:
    """Copy chunks as they lie in another file, filters and checksums included."""
    rest = [0] * (data.ndim - 1)
    for i in range(len(block)):
        skipped, chunk = block.id.read_direct_chunk((i, *rest))
        data.id.write_direct_chunk((start + i, *rest), chunk, skipped)


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
