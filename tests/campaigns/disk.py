"""The disk after a power cut: what a log of calls says is there at a moment, and what of it may be lost.

A model in between what file systems promise and what the worst of them does. What was synced is there: the content of
a file as it was at its last fsync, and the names in a folder as they were at that of the folder. Of what came after,
names (creating, renaming, removing) may be there or not, and so may writes, each by itself; where a write is lost, the
place holds what it held before, or zeros where the file grew.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.campaigns.shim import Call

SECTOR = 512
NAMES = ("create", "rename", "unlink", "mkdir", "rmdir", "link")
DATA = ("write", "truncate", "allocate")


@dataclass(frozen=True)
class Loss:
    """What is lost of what was not synced. names: "none", "all", or "some": those after a random one; data: "none",
    "all", "some" writes, or "torn": some sectors of the last writes.
    """

    names: str
    data: str


LOSSES = {
    "all": Loss("all", "all"),
    "data, not names": Loss("none", "all"),
    "names, not data": Loss("all", "none"),
    "some data": Loss("none", "some"),
    "sectors": Loss("none", "torn"),
    "some of both": Loss("some", "some"),
}


@dataclass
class File:
    """One file, or a folder. now: what a program sees; safe: what a power cut leaves for sure, None before a sync;
    writes: since then.
    """

    folder: bool = False
    now: bytearray = field(default_factory=bytearray)
    safe: bytes | None = None
    writes: list[Call] = field(default_factory=list)


@dataclass
class Disk:
    """What a log says. files: by the number of their creation, for inodes are used again; kept, pending: what happened
    to names, with the file, whose folder was synced since and whose was not.
    """

    files: list[File] = field(default_factory=list)
    number: dict[int, int] = field(default_factory=dict)
    changes: list[tuple[Call, int]] = field(default_factory=list)
    pending: list[int] = field(default_factory=list)

    def file_of(self, call: Call) -> int:
        """Return the number of the file that a call is about."""
        if call.operation in ("create", "mkdir") or call.inode not in self.number:
            self.number[call.inode] = len(self.files)
            self.files.append(File(folder=call.operation == "mkdir"))
        return self.number[call.inode]

    def take(self, call: Call) -> None:
        """Let a call happen."""
        number = self.file_of(call)
        file = self.files[number]
        if call.operation in NAMES:
            self.pending.append(len(self.changes))
            self.changes.append((call, number))
        elif call.operation in DATA:
            put(file.now, call)
            file.writes.append(call)
        elif call.operation == "sync":
            file.now, file.safe, file.writes = bytearray(call.data), call.data, []
        elif call.operation == "sync-folder":
            self.pending = [at for at in self.pending if not is_in(self.changes[at][0], call.path)]

    def names(self, lost: Sequence[int]) -> dict[str, int]:
        """Return the names that are there when some changes are lost: path -> number of the file."""
        return names_after(change for at, change in enumerate(self.changes) if at not in lost)


def put(content: bytearray, call: Call, data: bytes | None = None) -> None:
    """Let a write, or a change of size, happen to a file's content. data: in place of the call's."""
    if call.operation == "write":
        data = call.data if data is None else data
        end = call.offset + len(data)
        if len(content) < end:
            content.extend(bytes(end - len(content)))
        content[call.offset : end] = data
    elif call.operation == "truncate":
        del content[call.offset :]
        content.extend(bytes(call.offset - len(content)))
    elif len(content) < call.offset:
        content.extend(bytes(call.offset - len(content)))


def rebuild(calls: Sequence[Call], root: Path, loss: Loss, draw: random.Random) -> None:
    """Write below an empty folder what a power cut after some calls leaves. calls: all of them, from the first."""
    disk = Disk()
    for call in calls:
        disk.take(call)
    survive = {"none": len(disk.pending), "all": 0}.get(loss.names, draw.randint(0, len(disk.pending)))
    names = disk.names(disk.pending[survive:])
    folders = {str(root), *(path for path, number in names.items() if disk.files[number].folder)}
    for path in sorted(names):
        if all(str(parent) in folders for parent in Path(path).parents if parent.is_relative_to(root)):
            if disk.files[names[path]].folder:
                os.makedirs(path, exist_ok=True)
            else:
                Path(path).write_bytes(content_of(disk.files[names[path]], loss, draw))


def is_in(call: Call, folder: str) -> bool:
    """Whether a call is about a name in a folder."""
    return folder in {os.path.dirname(path) for path in (call.path, call.other) if path}


def names_after(changes: Iterable[tuple[Call, int]]) -> dict[str, int]:
    """Return the names that are there after some calls, each with the number of its file."""
    names: dict[str, int] = {}
    for call, number in changes:
        if call.operation in ("create", "mkdir"):
            names[call.path] = number
        elif call.operation in ("unlink", "rmdir"):
            names.pop(call.path, None)
        elif call.operation == "link":
            names[call.other] = number
        else:
            moved = {path: at for path, at in names.items() if (path + "/").startswith(call.path + "/")}
            for path in moved:
                del names[path]
            moved = moved or {call.path: number}
            names |= {call.other + path[len(call.path) :]: at for path, at in moved.items()}
    return names


def content_of(file: File, loss: Loss, draw: random.Random) -> bytes:
    """Return what of a file's content is left."""
    if loss.data == "none":
        return bytes(file.now)
    content = bytearray(file.safe or b"")
    if loss.data == "all":
        return bytes(content) if draw.random() < 0.5 else bytes(content.ljust(len(file.now), b"\0"))
    for call in file.writes:
        if call.operation != "write" or loss.data == "some":
            if draw.random() < 0.5:
                put(content, call)
            elif draw.random() < 0.5:  # the size is there, the data are not
                put(content, call, bytes(len(call.data)) if len(content) < call.offset + len(call.data) else b"")
        else:
            put(content, call, sectors_of(call, content, draw))
    return bytes(content)


def sectors_of(call: Call, content: bytearray, draw: random.Random) -> bytes:
    """Return a write of which some sectors came through; the others hold what was there."""
    data = bytearray(call.data)
    for start in range(-(call.offset % SECTOR), len(data), SECTOR):
        if draw.random() < 0.5:
            first, last = max(0, start), min(len(data), start + SECTOR)
            old = bytes(content[call.offset + first : call.offset + last])
            data[first:last] = old.ljust(last - first, b"\0")
    return bytes(data)
