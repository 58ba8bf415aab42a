"""How an array lies in a file of the cache, block by block, and how it is checked and mapped.

The values come first, so that they can be mapped. Behind them are the sha256 of each block, the sha256 of the whole
array, how many rows a block has, and a seal: the sha256 of these and of shape and type. There is no header that could
be damaged: the reader knows shape and type already. A file of an earlier version holds only the values and the whole
array's sha256; it is checked as one block.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import platform
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from clp_train.loading.decoding import default_workers

BLOCK_BYTES = 1 << 24  # at most, in whole rows
READ_BYTES = 1 << 22  # at a time
DIGEST = hashlib.sha256().digest_size
COUNT = 8  # bytes that hold the rows of a block
OTHER_BYTES = "other bytes than were written"
NO_ROOM_IS_KEPT = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
NO_RESERVE = 0x4000 if sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64") else 0
"""MAP_NORESERVE, which Python names from 3.13 on."""


def digest_begun(shape: tuple[int, ...], kind: np.dtype[Any]) -> Any:
    """Return the sha256 object of an array before its first byte."""
    return hashlib.sha256(repr((tuple(shape), kind.str)).encode())


@dataclass(frozen=True)
class Layout:
    """Places of everything in the file of an array. rows: per block; the last block may have fewer."""

    shape: tuple[int, ...]
    kind: np.dtype[Any]
    rows: int

    @classmethod
    def of(cls, shape: tuple[int, ...], kind: np.dtype[Any], together: int = 1) -> Layout:
        """Return the layout of a new file. together: rows that are never split over two blocks."""
        row_bytes = size_of(shape[1:], kind)
        return cls(shape, kind, max(1, BLOCK_BYTES // max(1, row_bytes * together)) * together)

    @property
    def size(self) -> int:
        """The bytes of the values."""
        return size_of(self.shape, self.kind)

    @property
    def block_bytes(self) -> int:
        """The bytes of every block but the last."""
        return self.rows * size_of(self.shape[1:], self.kind)

    @property
    def blocks(self) -> int:
        """The number of blocks."""
        return -(-self.size // self.block_bytes) if self.size else 0

    @property
    def file_size(self) -> int:
        """The bytes of the whole file."""
        return self.place_of(self.blocks) + DIGEST + COUNT + DIGEST

    def place_of(self, block: int) -> int:
        """Return the place of a block's digest; the digest of the whole array follows the last one."""
        return self.size + DIGEST * block

    def begun(self, block: int) -> Any:
        """Return the sha256 object of a block before its first byte. It is different for each block."""
        return hashlib.sha256(repr((self.shape, self.kind.str, self.rows, block)).encode())

    def span(self, block: int) -> tuple[int, int]:
        """Return where a block begins and ends, in bytes."""
        return block * self.block_bytes, min((block + 1) * self.block_bytes, self.size)

    def rows_of(self, block: int) -> str:
        """Return the rows of a block in words."""
        return f"rows {block * self.rows} to {min((block + 1) * self.rows, self.shape[0]) - 1}"

    def seal(self, digests: bytes) -> bytes:
        """Return the end of a file: the rows of a block, and sha256 over everything except the values.

        digests: all of them.
        """
        count = self.rows.to_bytes(COUNT, "little")
        return count + hashlib.sha256(repr((self.shape, self.kind.str)).encode() + digests + count).digest()


def size_of(shape: tuple[int, ...], kind: np.dtype[Any]) -> int:
    """Return the bytes of an array."""
    return int(np.prod(shape, dtype=np.int64)) * kind.itemsize


def check(path: Path, shape: tuple[int, ...], kind: np.dtype[Any]) -> str:
    """Return the sha256 of the array in a file, in hexadecimal, after reading and checking all of it.

    Blocks are read by several threads. Raises ValueError, naming the first damaged block, for a file that does not hold
    what was written.
    """
    with open(path, "rb", buffering=0) as file:
        found = os.fstat(file.fileno()).st_size
        if found == size_of(shape, kind) + DIGEST:
            return check_whole(file, shape, kind)
        layout = layout_in(file, found, shape, kind)
        digests = read_at(file, layout.size, DIGEST * (layout.blocks + 1))
        if read_at(file, layout.size + len(digests), COUNT + DIGEST) != layout.seal(digests):
            raise ValueError(OTHER_BYTES)
    with ThreadPoolExecutor(default_workers(), "CHECK") as pool:
        try:
            for block, digest in enumerate(pool.map(partial(digest_in, path, layout), range(layout.blocks))):
                if digest != digests[DIGEST * block : DIGEST * (block + 1)]:
                    of_all = f"block {block + 1} of {layout.blocks}, {layout.rows_of(block)}"
                    raise ValueError(f"{of_all}: {OTHER_BYTES}")
        finally:
            pool.shutdown(cancel_futures=True)
    return digests[-DIGEST:].hex()


def check_whole(file: IO[bytes], shape: tuple[int, ...], kind: np.dtype[Any]) -> str:
    """Return the sha256 of the array in a file of an earlier version. Raises ValueError as `check` does."""
    digest, size = digest_begun(shape, kind), size_of(shape, kind)
    add_bytes(digest, file, 0, size)
    if read_at(file, size, DIGEST) != digest.digest():
        raise ValueError(OTHER_BYTES)
    return str(digest.hexdigest())


def layout_in(file: IO[bytes], found: int, shape: tuple[int, ...], kind: np.dtype[Any]) -> Layout:
    """Return the layout of a file with `found` bytes; the file says how many rows a block has. Raises ValueError."""
    usual = Layout.of(shape, kind)
    if found < usual.size + 2 * DIGEST + COUNT:
        raise ValueError(f"{found} bytes, expected {usual.file_size}")
    layout = Layout(shape, kind, int.from_bytes(read_at(file, found - DIGEST - COUNT, COUNT), "little"))
    if not layout.rows or layout.file_size != found:
        raise ValueError(OTHER_BYTES if found == usual.file_size else f"{found} bytes, expected {usual.file_size}")
    return layout


def digest_in(path: Path, layout: Layout, block: int) -> bytes:
    """Return the sha256 of a block as it lies in a file."""
    digest = layout.begun(block)
    with open(path, "rb", buffering=0) as file:
        add_bytes(digest, file, *layout.span(block))
    return bytes(digest.digest())


def add_bytes(digest: Any, file: IO[bytes], start: int, stop: int) -> None:
    """Add bytes of a file to a digest. Raises ValueError for a file that ends too early."""
    file.seek(start)
    buffer = memoryview(bytearray(min(READ_BYTES, stop - start)))
    while start < stop:
        count = file.readinto(buffer[: stop - start])  # type: ignore[attr-defined]  # a file of bytes has it
        if not count:
            raise ValueError(f"it ends {stop - start} bytes too early")
        digest.update(buffer[:count])
        start += count


def read_at(file: IO[bytes], place: int, size: int) -> bytes:
    """Return `size` bytes from a place of a file. Raises ValueError if there are fewer."""
    file.seek(place)
    found = file.read(size)
    if len(found) != size:
        raise ValueError(f"it ends {size - len(found)} bytes too early")
    return found


def keep_room(file: IO[bytes], size: int) -> None:
    """Reserve disk space for a file, if the system can, to notice a full disk at once. Raises OSError if it is full."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in NO_ROOM_IS_KEPT:
                raise


def mapped(file: IO[bytes], shape: tuple[int, ...], kind: np.dtype[Any]) -> np.ndarray:
    """Return the array at the beginning of a file, memory-mapped, copy on write.

    No memory is reserved, so the array may be larger than the memory. Raises OSError when the system refuses.
    """
    size = size_of(shape, kind)
    if not size:
        return np.empty(shape, kind)
    if hasattr(mmap, "MAP_PRIVATE"):
        flags = mmap.MAP_PRIVATE | getattr(mmap, "MAP_NORESERVE", NO_RESERVE)
        pages = mmap.mmap(file.fileno(), size, flags=flags, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    else:
        pages = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY)
    return np.frombuffer(pages, kind).reshape(shape)
