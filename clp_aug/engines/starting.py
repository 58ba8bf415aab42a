"""How worker processes start, and the error if none of them does.

A spawned process runs the main script again before it becomes a worker. A script without a main guard would start
workers in its workers. A script from the standard input cannot be read again.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.spawn
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext
from multiprocessing.reduction import ForkingPickler
from multiprocessing.synchronize import Lock, Semaphore
from typing import Any

from clp_aug.common.own_code import expect_files, loaded_files
from clp_aug.contract.errors import ClpError, UsageError

UNGUARDED = 78  # exit code of a process that tried to start workers before it was a worker itself
REMEDY = 'put what it does under if __name__ == "__main__": or take one worker (workers=1, engine="serial")'


@dataclass(frozen=True)
class Start:
    """How a worker gets its task, and reports that it has begun. The task comes through a pipe, which can break. As an
    argument of the process it would block the parent forever if the process dies before reading it.
    """

    plugins: tuple[tuple[str, str], ...]
    tasks: Connection
    one_at_a_time: Lock
    begun: Semaphore

    @staticmethod
    @contextmanager
    def of(task: Any, workers: int, context: SpawnContext) -> Iterator[Start]:
        """Yield the object for the workers; a thread sends the task to each of them. Raises the errors of pickling."""
        tasks, sender = context.Pipe(duplex=False)
        start = Start(loaded_files(), tasks, context.Lock(), context.Semaphore(0))
        threading.Thread(target=send, args=(sender, ForkingPickler.dumps(task), workers), daemon=True).start()
        with tasks:
            yield start

    def take(self) -> Any:
        """Return the task, in a worker. Raises UsageError if the file of a plug-in has changed meanwhile."""
        expect_files(self.plugins)
        with self.one_at_a_time:  # only for the bytes: a worker that dies while unpickling does not block the others
            parcel = self.tasks.recv_bytes()
        task = ForkingPickler.loads(parcel)
        self.tasks.close()
        self.begun.release()
        return task


def send(sender: Connection, parcel: memoryview, workers: int) -> None:
    """Send a pickled task to each worker, as long as one can receive it."""
    with sender, contextlib.suppress(OSError):
        for _ in range(workers):
            sender.send_bytes(parcel)


def refuse_in_a_worker() -> None:
    """End this process if it is about to become a worker: then it runs a script without a main guard.

    Code that writes files calls this first. The parent, which waits for the worker, prints the reason.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # as multiprocessing itself asks
        raise SystemExit(UNGUARDED)


def check_main() -> None:
    """Raise UsageError if the main script cannot be run again, and end a process that is about to become a worker."""
    refuse_in_a_worker()
    script = multiprocessing.spawn.get_preparation_data("").get("init_main_from_path")
    if script is not None and not os.path.isfile(script):
        raise UsageError(
            f"worker processes run the main script again, but {script} is no file; write the script to a file, and"
            f" {REMEDY}"
        )


def why_none_started(start: Start, codes: Sequence[int | None]) -> ClpError | None:
    """Return the error if no worker has begun; None if one has, or if they were killed. codes: their exit codes."""
    if UNGUARDED in codes:
        return UsageError(f"worker processes run the main script again, and this one starts workers at once; {REMEDY}")
    if start.begun.acquire(block=False) or not any(code is not None and code >= 0 for code in codes):
        return None
    return ClpError(f"no worker process could start, for the reason printed above; in a script, {REMEDY}")
