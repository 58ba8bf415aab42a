"""A shard laid out at its full size and filled in place, by any number of processes, in any order, as often as needed.

HDF5 writes the structure once, with room for every picture; from then on only bytes at fixed places change. So a
killed process cannot damage the file, workers need no writer to hand their pictures to, nothing is written twice, and
the bytes do not depend on who filled what.
"""

from __future__ import annotations

import dataclasses
import errno
import io
import itertools
import json
import os
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from clp_aug.contract import schema
from clp_aug.contract.checksums import fletcher32s
from clp_aug.contract.digests import picture_digest, seal_of
from clp_aug.contract.handles import open_handle, read_at, write_at
from clp_aug.contract.schema import ALL_FIELDS, DIGESTS, SEAL, Header
from clp_aug.contract.validate import check_links, check_shapes, read_header

CHECKSUM_BYTES = 4
TOGETHER = 1 << 18  # bytes of pictures that are summed and written at once: as many as fit into the cache of a core
AT_ONCE = 1 << 20  # bytes
NO_RESERVING = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ENODEV)
"""Errors of a disk that cannot reserve room for a file before its bytes are written."""


@lru_cache(maxsize=4)
def _zeros(size: int) -> bytes:
    return bytes(size)


class Disk(io.FileIO):
    """A file that keeps its first error for `check` and swallows later writes: HDF5 crashes when it cannot tidy up.

    Zeros after the last written byte are left out; `reserve` makes the disk reserve their room.
    """

    def __init__(self, path: Path, mode: str) -> None:
        super().__init__(path, mode)
        self.failure: OSError | None = None
        self.written = 0  # bytes up to here may be other than zero
        self.left_out: list[tuple[int, int]] = []  # start and stop of zeros

    def write(self, data: Any) -> int:
        left = memoryview(data)
        start = self.tell()
        if start >= self.written and bytes(left) == _zeros(len(left)):
            self.skip(start, len(left))
            return len(data)
        self.written = max(self.written, start + len(left))
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

    def skip(self, start: int, size: int) -> None:
        """Leave out `size` zeros. They are in the file as soon as the file is long enough."""
        stop = start + size
        if self.left_out and self.left_out[-1][1] == start:
            start, _ = self.left_out.pop()
        self.left_out.append((start, stop))
        self.seek(stop)

    def reserve(self) -> None:
        """Make the disk reserve room for the zeros that were left out. Raises OSError if it has none."""
        size = os.fstat(self.fileno()).st_size
        try:
            os.posix_fallocate(self.fileno(), 0, size)
        except (AttributeError, OSError) as error:
            if getattr(error, "errno", errno.ENOSYS) not in NO_RESERVING:
                raise
            for start, stop in self.left_out:
                for at in range(start, stop, AT_ONCE):  # it may have been written since, so what is there is written
                    write_at(self.fileno(), read_at(self.fileno(), min(AT_ONCE, stop - at), at), at)

    def check(self) -> None:
        if self.failure is not None:
            raise self.failure


def lay_out(path: Path, header: Header, names: Iterable[str], sizes: dict[str, int]) -> None:
    """Write a shard of zeros: attributes, and every named data set with all its room.

    sizes: the letters of the contract's shapes, e.g. {"N": 120, "M": 1000, "K": 40, "H": 64, "W": 64}. Raises OSError
    if the disk is full: here, before any work.
    """
    with Disk(path, "w+") as disk:
        with h5py.File(disk, "w", libver=("v110", "v110")) as file:
            _write_attributes(file, header)
            for name in names:
                field = ALL_FIELDS[name]
                shape = tuple(sizes[side] if isinstance(side, str) else side for side in field.shape)
                layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
                layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
                if "H" in field.shape and shape[0]:
                    file.create_dataset(name, shape, field.dtype, chunks=(1, *shape[1:]), fletcher32=True, dcpl=layout)
                else:
                    file.create_dataset(name, shape, field.dtype, dcpl=layout)
                disk.check()
        disk.check()
        disk.reserve()


def _write_attributes(file: h5py.File, header: Header) -> None:
    values = dataclasses.asdict(header)
    for name in schema.INT_ATTRIBUTES:
        file.attrs[name] = values[name]
    for name in (*schema.TEXT_ATTRIBUTES, *schema.JSON_ATTRIBUTES):
        value = values[name]
        text = (json.dumps(value, sort_keys=True) if name in schema.JSON_ATTRIBUTES else value).encode()
        file.attrs.create(name, text, dtype=h5py.string_dtype("utf-8", max(1, len(text))))


class Blank:
    """A laid-out shard to fill. Each process makes its own object; all other processes see at once what it fills.

    Safe to pickle: the handle and the places of the data are not pickled.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._handle: int | None = None
        self._places: dict[str, np.ndarray | range] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_handle": None, "_places": {}}

    def fill(self, name: str, start: int, values: np.ndarray | Sequence[np.ndarray]) -> None:
        """Put `values` (n, ...) at rows start to start + n of a data set; for pictures, write their digests too.

        Raises ValueError if they do not fit, OSError if the disk refuses.
        """
        field, every = ALL_FIELDS[name], self._places_of(name)
        places = every[start : start + len(values)]
        if len(places) != len(values):
            raise ValueError(f"{name}: rows {start}..{start + len(values)} of {len(every)}")
        if "H" in field.shape:
            if len(values):
                self.fill(DIGESTS[name], start, self._fill_pictures(np.asarray(places), values))
        elif len(values):
            self._put(int(places[0]), np.ascontiguousarray(values, np.dtype(field.dtype).newbyteorder("<")).tobytes())

    def _fill_pictures(self, places: np.ndarray, pictures: np.ndarray | Sequence[np.ndarray]) -> np.ndarray:
        """Put pictures at places of the file, int64 (n,), each with its checksum; return their digests, uint64 (n,)."""
        size, digests = pictures[0].size, np.empty(len(pictures), np.uint64)
        chunks = np.empty((max(1, min(TOGETHER // size, len(pictures))), size + CHECKSUM_BYTES), np.uint8)
        for first in range(0, len(pictures), len(chunks)):
            some = pictures[first : first + len(chunks)]
            for i, picture in enumerate(some):
                chunks[i, :size] = picture.reshape(-1)
                digests[first + i] = picture_digest(chunks[i, :size])
            part = chunks[: len(some)]
            part[:, size:] = fletcher32s(part[:, :size]).astype("<u4").view(np.uint8).reshape(-1, CHECKSUM_BYTES)
            self._put_chunks(places[first : first + len(some)], part)
        return digests

    def _put_chunks(self, places: np.ndarray, chunks: np.ndarray) -> None:
        """Write chunks, uint8 (n, bytes), to their places; neighbours in the file are written at once."""
        breaks = np.flatnonzero(np.diff(places) != chunks.shape[1]) + 1
        for first, last in itertools.pairwise([0, *breaks.tolist(), len(chunks)]):
            self._put(int(places[first]), chunks[first:last].data)

    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return rows of a data set as they are now, by default all. Raises OSError for a file that is cut short."""
        places = self._places_of(name)
        if isinstance(places, np.ndarray):
            with h5py.File(self.path, "r", locking=False) as file:
                pictures: np.ndarray = file[name][start:stop]
            return pictures
        field, wanted = ALL_FIELDS[name], places[start:stop]
        size = len(wanted) * wanted.step
        data = read_at(self._open(), size, wanted.start) if size else b""
        if len(data) < size:
            raise OSError(f"{self.path}: {name} is cut short")
        return np.frombuffer(bytearray(data), np.dtype(field.dtype).newbyteorder("<")).reshape(-1, *field.shape[1:])

    def seal(self) -> None:
        """Seal the whole: from now on the file says what its content must be. Raises InputError for a damaged file."""
        with h5py.File(self.path, "r", locking=False) as file:
            header = read_header(self.path, file)
        self.fill(SEAL, 0, seal_of(header, self.tables()))

    def check(self) -> None:
        """Check the structure: links, shapes, storage, attributes.

        Raises InputError, or an error of h5py (`damage.UNCHECKED`), for a file that `lay_out` cannot have made.
        """
        with h5py.File(self.path, "r", locking=False) as file:
            check_links(self.path, file)
            check_shapes(self.path, file)
            read_header(self.path, file)

    def tables(self) -> dict[str, np.ndarray]:
        """Return every data set but the pictures, by name, as it is now."""
        with h5py.File(self.path, "r", locking=False) as file:
            return {name: file[name][...] for name in ALL_FIELDS if name in file and name not in DIGESTS}

    def pictures(self, name: str, start: int, stop: int) -> list[np.ndarray]:
        """Return rows of pictures as they are now, uint8 each. Raises OSError for a picture with a wrong checksum."""
        with h5py.File(self.path, "r", locking=False, rdcc_nbytes=0) as file:
            return [file[name][i] for i in range(start, stop)]

    def __enter__(self) -> Blank:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        if self._handle is not None:
            os.close(self._handle)
        self._handle, self._places = None, {}

    def _places_of(self, name: str) -> np.ndarray | range:
        """Return the place of every row in the file, found once per process."""
        if name not in self._places:
            self._places[name] = self._find(name)
        return self._places[name]

    def _find(self, name: str) -> np.ndarray | range:
        """Return the place of every row in the file: int64 (n,) for pictures, a range for a table (one plain block)."""
        with h5py.File(self.path, "r", locking=False) as file:
            data = file[name]
            if data.chunks is None:
                row = data.dtype.itemsize * int(np.prod(data.shape[1:], dtype=np.int64))
                start = data.id.get_offset() or 0
                return range(start, start + len(data) * row, row)
            places = np.zeros(len(data), np.int64)

            def note(chunk: Any) -> None:
                places[chunk.chunk_offset[0]] = chunk.byte_offset

            data.id.chunk_iter(note)
            return places

    def _put(self, place: int, data: bytes | memoryview) -> None:
        left = memoryview(data).cast("B")
        while left:
            written = write_at(self._open(), left, place)
            left, place = left[written:], place + written

    def _open(self) -> int:
        """Return the handle, opened once per process."""
        if self._handle is None:
            self._handle = open_handle(self.path)
        return self._handle
