"""Processes that read pictures: each has its own Python lock, asks for nothing and writes nothing.

They are not spawned by `multiprocessing`, which would run the caller's main script again. If a process cannot do its
work (the class of a data set is not found, a picture is broken, the system ended the process), the work is done in this
process, so every error is the same as without processes.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import suppress

import numpy as np

from clp_train.loading.crew_member import MAIN

Read = Callable[[int], np.ndarray]


def packed(read: Read) -> bytes:
    """Return the read function, packed for processes; b"" if it cannot be packed."""
    try:
        return pickle.dumps(read, pickle.HIGHEST_PROTOCOL) if sys.executable else b""
    except Exception:  # classes of others may raise anything
        return b""


def read_by_processes(
    read: Read, task: bytes, rows: np.ndarray, workers: int, block: int, ahead: int
) -> Generator[np.ndarray, None, None]:
    """Yield `read(row)` for each row, int64 (n,), in their order; task: `read`, packed.

    Blocks of rows go to the processes in turn; each process has up to `ahead` blocks. Raises the first error of `read`,
    by the order of the rows.
    """
    parts = [rows[start : start + block] for start in range(0, len(rows), block)]
    crew = started(task, min(workers, len(parts)))
    if not crew:
        yield from map(read, rows.tolist())
        return
    under_way = len(crew) * ahead
    try:
        for k, part in enumerate(parts[:under_way]):
            ask(crew[k % len(crew)], part)
        for k, part in enumerate(parts):
            found = answer(crew[k % len(crew)])
            if k + under_way < len(parts):
                ask(crew[k % len(crew)], parts[k + under_way])
            yield from map(read, part.tolist()) if found is None else found
    finally:
        for process in crew:
            end(process)


def started(task: bytes, workers: int) -> list[subprocess.Popen[bytes]]:
    """Start processes and send them the read function. Starts fewer, or none, if the system refuses."""
    crew: list[subprocess.Popen[bytes]] = []
    command, pipe = [sys.executable, "-c", MAIN, *sys.path], subprocess.PIPE
    with suppress(OSError):
        for _ in range(workers):
            crew.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, start_new_session=True))
    for process in crew:  # all are started before any of them listens
        send(process, task)
    return crew


def ask(process: subprocess.Popen[bytes], rows: np.ndarray) -> None:
    """Ask a process for the pictures of some rows."""
    send(process, pickle.dumps(rows.tolist()))


def send(process: subprocess.Popen[bytes], message: bytes) -> None:
    """Send a message to a process; a process that has ended will not answer."""
    with suppress(OSError, ValueError):
        process.stdin.write(message)  # type: ignore[union-attr]  # it is a pipe
        process.stdin.flush()  # type: ignore[union-attr]


def answer(process: subprocess.Popen[bytes]) -> list[np.ndarray] | None:
    """Return the pictures of the oldest block that a process was asked for; None if it cannot give them."""
    try:
        found: list[np.ndarray] | None = pickle.load(process.stdout)  # type: ignore[arg-type]
    except Exception:  # it has ended, anywhere in its answer
        process.kill()
        return None
    return found


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process; it has nothing to save."""
    process.kill()
    with suppress(OSError):  # bytes that were not sent yet
        process.stdin.close()  # type: ignore[union-attr]
    process.stdout.close()  # type: ignore[union-attr]
    process.wait()
