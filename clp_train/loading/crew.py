"""Processes that read pictures: each has a Python's lock of its own, asks for nothing and writes nothing.

They are no spawned processes of `multiprocessing`: those run the main script of who calls a library again. What cannot
be done in one - the class of a data set is found nowhere, a picture is broken, the system ended it - is done here, so
that every error is that of reading alone.
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
    """Return how to read, as processes can be told it; nothing where they cannot."""
    try:
        return pickle.dumps(read, pickle.HIGHEST_PROTOCOL) if sys.executable else b""
    except Exception:  # whatever the classes of others raise
        return b""


def read_by_processes(
    read: Read, task: bytes, rows: np.ndarray, workers: int, block: int, ahead: int
) -> Generator[np.ndarray, None, None]:
    """Yield what `read` makes of each row, int64 (n,), in their order; task: `read`, packed.

    Blocks of rows go to the processes in turn, `ahead` of them to each before the first is taken. Raises what `read`
    raises first, by the order of the rows.
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
    """Start processes and tell them how to read. Fewer, or none, where the system refuses."""
    crew: list[subprocess.Popen[bytes]] = []
    command, pipe = [sys.executable, "-c", MAIN, *sys.path], subprocess.PIPE
    with suppress(OSError):
        for _ in range(workers):
            crew.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, start_new_session=True))
    for process in crew:  # which all begin before one of them listens
        send(process, task)
    return crew


def ask(process: subprocess.Popen[bytes], rows: np.ndarray) -> None:
    """Ask a process for the pictures of some rows."""
    send(process, pickle.dumps(rows.tolist()))


def send(process: subprocess.Popen[bytes], message: bytes) -> None:
    """Send a message to a process; one that has ended will not answer."""
    with suppress(OSError, ValueError):
        process.stdin.write(message)  # type: ignore[union-attr]  # it is a pipe
        process.stdin.flush()  # type: ignore[union-attr]


def answer(process: subprocess.Popen[bytes]) -> list[np.ndarray] | None:
    """Return the pictures of the rows that a process was asked for first; None where it has none to give."""
    try:
        found: list[np.ndarray] | None = pickle.load(process.stdout)  # type: ignore[arg-type]
    except Exception:  # it has ended, in whatever place of its answer
        process.kill()
        return None
    return found


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process, which has nothing to lose."""
    process.kill()
    with suppress(OSError):  # what it was not told yet
        process.stdin.close()  # type: ignore[union-attr]
    process.stdout.close()  # type: ignore[union-attr]
    process.wait()
