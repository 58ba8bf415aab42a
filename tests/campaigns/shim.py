"""The shim (shim.c) from Python: building it, telling it what to do, and reading what it logged."""

from __future__ import annotations

import ctypes
import mmap
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("shim.c")
VARIABLE = "SHIM_CONTROL"  # where programs find the path of the control block
OFF, COUNT, KILL_BEFORE, KILL_WITHIN, FAIL, RECORD = range(6)
PATH_BYTES = 1024


class NoCompilerError(Exception):
    """There is no C compiler, so that the shim cannot be built."""


class Control(ctypes.Structure):
    """The control block; its layout is that of `struct control` in shim.h."""

    _fields_ = [
        *((name, ctypes.c_int32) for name in ("mode", "error", "persistent", "reads")),
        *((name, ctypes.c_int32) for name in ("everyone", "fired", "ended", "lock")),
        ("at", ctypes.c_int64),
        ("count", ctypes.c_int64),
        ("folder", ctypes.c_char * PATH_BYTES),
        ("log", ctypes.c_char * PATH_BYTES),
    ]  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """What is to happen at the n-th call below a folder.

    mode: of the constants above; at: n, from 1; error: the errno that FAIL gives; persistent: at every later call too;
    reads: count opening for reading and reading, too; everyone: a kill is of all processes, not of one group; log: the
    file that COUNT and RECORD write.
    """

    folder: Path
    mode: int = COUNT
    at: int = 0
    error: int = 0
    persistent: bool = False
    reads: bool = False
    everyone: bool = True
    log: Path | None = None


@dataclass(frozen=True)
class Call:
    """One entry of a log. offset: for COUNT the size of what is written; data: of a write, or all of a synced file."""

    operation: str
    inode: int
    offset: int
    path: str
    other: str
    data: bytes


def build(folder: Path) -> Path:
    """Compile the shim into a folder and return the library. Raises NoCompilerError."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise NoCompilerError("no C compiler (cc, gcc or clang), which builds the library that campaigns preload")
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / "shim.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", str(SOURCE), "-o", str(library)]
    subprocess.run([*command, "-ldl"], check=True)
    return library


def environment(library: Path | None, control: Path) -> dict[str, str]:
    """Return the environment of a worker: one thread a process, and, with a library, an idle control block to obey."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    plain = {**os.environ, **threads, "COLUMNS": "200"}
    if library is None:
        return plain
    control.write_bytes(bytes(ctypes.sizeof(Control)))
    return {**plain, "LD_PRELOAD": str(library), VARIABLE: str(control)}


class Shim:
    """The control block of this process's environment."""

    def __init__(self) -> None:
        with open(os.environ[VARIABLE], "r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self.control = Control.from_buffer(self._map)

    def set(self, fault: Fault) -> None:
        """Let a fault begin: the calls are counted from here."""
        control = self.control
        control.mode = OFF
        control.count = control.fired = control.ended = control.lock = 0
        control.error, control.at = fault.error, fault.at
        control.persistent, control.reads, control.everyone = fault.persistent, fault.reads, fault.everyone
        control.folder = os.fsencode(fault.folder)
        control.log = os.fsencode(fault.log or "")
        control.mode = fault.mode

    def off(self) -> None:
        """Let nothing happen any more; `count` and `fired` stay to be read."""
        self.control.mode = OFF
        self.control.ended = 0


def read_log(path: Path) -> list[Call]:
    """Return the entries of a log, in the order of the calls."""
    return list(entries(path.read_bytes())) if path.exists() else []


def entries(data: bytes) -> Iterator[Call]:
    """Yield the entries that a log's bytes hold."""
    at = 0
    while at < len(data):
        end = data.index(b"\n", at)
        operation, inode, offset, size, path, other = data[at:end].split(b"\t")
        at = end + 1 + int(size)
        names = os.fsdecode(path), os.fsdecode(other)
        yield Call(operation.decode(), int(inode), int(offset), *names, data[end + 1 : at])
