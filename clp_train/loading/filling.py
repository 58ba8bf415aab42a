"""A file of the cache is made block by block, and goes on after a kill where the last whole block ends.

It grows under a name of its own, with room kept for all of it. A block's digest is written behind the block: what a
digest fits is not made again, whatever ended the process. Nothing is taken on trust, so nothing has to be brought to
the disk before the end.
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
"""Row to begin with -> the array from there on, some rows at a time and in order."""
UNFINISHED = ".part"
"""What follows the name of a file while it is made."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class MisfitError(ValueError):
    """The parts of an array are more, or less, than it: a fault of ours."""


def unfinished(path: Path) -> Path:
    """Return where a file lies while it is made."""
    return path.with_name(path.name + UNFINISHED)


def fill(path: Path, layout: Layout, parts: Parts) -> None:
    """Make the file of an array, for who holds its lock; go on where one that was killed stopped.

    What is whole stays for the next try, unless the disk is full. Raises InputError when the disk refuses, before the
    first part if it is full, and what `parts` raises.
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
    """Open a file to read and to write, which need not be there. Raises OSError when the disk refuses."""
    return os.fdopen(os.open(place, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666), "r+b")


class Filling:
    """A file that is being made. done: whole blocks so far; whole: digest of all that is written."""

    def __init__(self, file: IO[bytes], layout: Layout) -> None:
        self.file, self.layout, self.done = file, layout, 0
        self.whole = digest_begun(layout.shape, layout.kind)

    def go_on(self) -> None:
        """Find the blocks that are whole, from the first on. Raises OSError when the disk refuses."""
        layout, size = self.layout, os.fstat(self.file.fileno()).st_size
        if size != layout.file_size:
            self.file.truncate(0)
            self.file.truncate(layout.file_size)  # what is not written is zero
        keep_room(self.file, layout.file_size)
        while self.done < layout.blocks and size == layout.file_size and self.is_whole(self.done):
            add_bytes(self.whole, self.file, *layout.span(self.done))
            self.done += 1

    def is_whole(self, block: int) -> bool:
        """Tell whether a block holds what its digest says."""
        written, digest = read_at(self.file, self.layout.place_of(block), DIGEST), self.layout.begun(block)
        if any(written):
            add_bytes(digest, self.file, *self.layout.span(block))
        return bool(written == digest.digest())

    def add(self, parts: Parts) -> None:
        """Write what is missing, and what ends the file. Raises MisfitError for parts that are no whole, OSError when
        the disk refuses, and what `parts` raises.
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
        """Note that a block is whole."""
        self.file.seek(self.layout.place_of(self.done))
        self.file.write(digest)
        self.done += 1
        self.file.seek(self.layout.span(self.done)[0])

    def misfit(self, found: int) -> MisfitError:
        """Return the error of parts that have so many bytes."""
        return MisfitError(
            f"the parts have {found} bytes, {self.layout.kind} {self.layout.shape} has {self.layout.size}"
        )
