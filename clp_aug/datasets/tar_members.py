"""READ: the bytes of one member of a tar file, by several threads and processes at once."""

from __future__ import annotations

import os
import stat
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import BinaryIO

from clp_aug.contract.errors import InputError
from clp_aug.datasets.tar_headers import BLOCK, number, octal, sum_of

KEPT_OPEN = 8  # tar files per thread


@dataclass(frozen=True, slots=True)
class Member:
    """One file in a tar, with the methods of a path. tar: its tar file; tar_size: size of the tar in bytes, from the
    listing; inside: the member's name; start, size: place of its bytes.
    """

    tar: Path
    tar_size: int
    inside: str
    start: int
    size: int

    @property
    def name(self) -> str:
        """The last part of the member's name."""
        return self.inside.rpartition("/")[2]

    def __str__(self) -> str:
        return f"{self.tar}/{self.inside}"

    def relative_to(self, folder: Path, /) -> PurePath:
        """Return the member's name, with the tar as a folder, below a folder of the tar."""
        return self.tar.relative_to(folder) / self.inside

    def stat(self) -> os.stat_result:
        """Return the status of a file with the member's bytes: its kind and size."""
        return os.stat_result((stat.S_IFREG | 0o444, 0, 0, 1, 0, 0, self.size, 0, 0, 0))

    def read_bytes(self) -> bytes:
        """Return the member's bytes. Raises InputError if the tar file has changed, OSError for a broken disk."""
        data = OPEN.read(self.tar, self.tar_size, self.start - BLOCK, BLOCK + self.size)
        head = data[:BLOCK]
        whole = len(data) == BLOCK + self.size and octal(head[148:156]) == sum_of(head)
        if not whole or number(head[124:136]) not in (self.size, 0):  # 0: an extended header has the size
            raise changed(self.tar)
        return data[BLOCK:]


def changed(tar: Path) -> InputError:
    """Return the error for a tar file that has changed since it was listed."""
    return InputError(f"{tar}: the tar file has changed since it was listed; start again, and do not write to it")


def identity_of(status: os.stat_result) -> tuple[int, int, int, int]:
    """Return the values that differ if another file takes the place of this one."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


class Handle:
    """One open file of one process."""

    def __init__(self, tar: Path) -> None:
        self.process = os.getpid()
        self.file: BinaryIO = open(tar, "rb", buffering=0)  # noqa: SIM115
        self.identity = identity_of(os.fstat(self.file.fileno()))

    def __del__(self) -> None:
        if hasattr(self, "file"):
            self.file.close()


class OpenTars(threading.local):
    """The open tar files of a thread: the last used ones. A forked process opens its own: a position is shared."""

    def __init__(self) -> None:
        self.handles: OrderedDict[Path, Handle] = OrderedDict()

    def read(self, tar: Path, size: int, start: int, count: int) -> bytes:
        """Return up to `count` bytes of a tar file of `size` bytes. Raises InputError for another size."""
        status, handle = os.stat(tar), self.handles.get(tar)
        if status.st_size != size:
            raise changed(tar)
        if handle is None or handle.process != os.getpid() or handle.identity != identity_of(status):
            handle = self.handles[tar] = Handle(tar)
        self.handles.move_to_end(tar)
        if len(self.handles) > KEPT_OPEN:
            self.handles.popitem(last=False)
        handle.file.seek(start)
        parts = []
        while count and (part := handle.file.read(count)):
            parts.append(part)
            count -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


OPEN = OpenTars()
