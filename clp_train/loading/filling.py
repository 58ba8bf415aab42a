"""A file of the cache is made block by block, and after a kill it continues after the last whole block.

It grows under a temporary name, and disk space for all of it is reserved. A block's digest is written after the block.
Blocks that fit their digests are not made again, whatever ended the process. Every block is checked, so nothing has to
be synchronised to the disk before the end.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO

import numpy as np

from clp_aug.common.files import disk_error, move
from clp_train.loading.blocks import DIGEST, Layout, add_bytes, digest_begun, keep_room, read_at

Parts = Callable[[int], Iterable[np.ndarray]]
"""First row -> the array from that row on, some rows at a time and in order."""
UNFINISHED = ".part"
"""Suffix of a file's name while it is made."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class MisfitError(ValueError):
    """The parts of an array are longer or shorter than the array: a bug in this package."""


def unfinished(path: Path) -> Path:
    """Return the path of a file while it is made."""
    return path.with_name(path.name + UNFINISHED)


def fill(path: Path, layout: Layout, parts: Parts) -> None:
    """Make the file of an array; the caller holds its lock. Continue where a killed process stopped.

    Whole blocks are kept for the next try, unless the disk is full. Raises InputError when the disk refuses, before the
    first part if it is full, and everything that `parts` raises.
    """
    place, filling = unfinished(path), None
    try:
        with opened(place) as file:
            filling = Filling(file, layout)
            filling.go_on()
            filling.add(parts)
    except BaseException as error:
        is_full = isinstance(error, OSError) and error.errno in FULL
        if filling is None or not filling.done or is_full or isinstance(error, MisfitError):
            with contextlib.suppress(OSError):
                place.unlink()
        if isinstance(error, OSError):
            raise disk_error(path, error) from None
        raise
    move(place, path)


def opened(place: Path) -> IO[bytes]:
    """Open a file for reading and writing; make it if it is missing. Raises OSError when the disk refuses."""
    return os.fdopen(os.open(place, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666), "r+b")


class Filling:
    """A file that is being made. done: whole blocks so far; whole: digest of everything that is written."""

    def __init__(self, file: IO[bytes], layout: Layout) -> None:
        self.file, self.layout, self.done = file, layout, 0
        self.whole = digest_begun(layout.shape, layout.kind)

    def go_on(self) -> None:
        """Find the whole blocks, starting from the first. Raises OSError when the disk refuses."""
        layout, size = self.layout, os.fstat(self.file.fileno()).st_size
        if size != layout.file_size:
            self.file.truncate(0)
            self.file.truncate(layout.file_size)  # the rest is zero
        keep_room(self.file, layout.file_size)
        while self.done < layout.blocks and size == layout.file_size and self.is_whole(self.done):
            add_bytes(self.whole, self.file, *layout.span(self.done))
            self.done += 1

    def is_whole(self, block: int) -> bool:
        """Return whether a block fits its digest."""
        written, digest = read_at(self.file, self.layout.place_of(block), DIGEST), self.layout.begun(block)
        if any(written):
            add_bytes(digest, self.file, *self.layout.span(block))
        return bool(written == digest.digest())

    def add(self, parts: Parts) -> None:
        """Write the missing blocks and the end of the file.

        Raises MisfitError for parts that do not fit the array, OSError when the disk refuses, and what `parts` raises.
        """
        layout, size = self.layout, self.layout.size
        (at, end), digest = layout.span(self.done), layout.begun(self.done)
        self.file.seek(at)
        if self.done < layout.blocks:
            for part in parts(self.done * layout.rows):
                values = np.ascontiguousarray(part, layout.kind).reshape(-1).view(np.uint8).data
                if at + len(values) > size:
                    raise self.misfit(at + len(values))
                while len(values):
                    piece = values[: end - at]
                    self.file.write(piece)
                    digest.update(piece)
                    self.whole.update(piece)
                    at, values = at + len(piece), values[len(piece) :]
                    if at == end:
                        self.end_block(digest.digest())
                        digest, end = layout.begun(self.done), layout.span(self.done)[1]
            if at != size:
                raise self.misfit(at)
        digests = read_at(self.file, size, DIGEST * layout.blocks) + self.whole.digest()
        self.file.seek(layout.place_of(layout.blocks))
        self.file.write(self.whole.digest() + layout.seal(digests))

    def end_block(self, digest: bytes) -> None:
        """Record that a block is whole."""
        self.file.seek(self.layout.place_of(self.done))
        self.file.write(digest)
        self.done += 1
        self.file.seek(self.layout.span(self.done)[0])

    def misfit(self, found: int) -> MisfitError:
        """Return the error for parts with `found` bytes."""
        return MisfitError(
            f"the parts have {found} bytes, expected {self.layout.size} for {self.layout.kind} {self.layout.shape}"
        )
