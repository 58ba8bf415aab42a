"""How worker processes start, and what to say when none of them does.

A spawned process runs the main script again before it becomes a worker. A script that starts workers as it is run, with
no main guard, would start workers in its workers; the standard input, read as a script, cannot be read again.
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

UNGUARDED = 78  # exit code of a process that came to start workers before it was one itself
REMEDY = 'put what it does under if __name__ == "__main__": or take one worker (workers=1, engine="serial")'


@dataclass(frozen=True)
class Start:
    """How a worker gets its task, and says that it has begun. The task comes through a pipe that can break: an argument
    of the process would block the parent for good when the process dies before it has read it.
    """

    plugins: tuple[tuple[str, str], ...]
    tasks: Connection
    one_at_a_time: Lock
    begun: Semaphore

    @staticmethod
    @contextmanager
    def of(task: Any, workers: int, context: SpawnContext) -> Iterator[Start]:
        """Yield what the workers get; the task is sent to each of them meanwhile. Raises what pickling raises."""
        tasks, sender = context.Pipe(duplex=False)
        start = Start(loaded_files(), tasks, context.Lock(), context.Semaphore(0))
        threading.Thread(target=send, args=(sender, ForkingPickler.dumps(task), workers), daemon=True).start()
        with tasks:
            yield start

    def take(self) -> Any:
        """Return the task, in a worker. Raises UsageError for a plug-in whose file has changed meanwhile."""
        expect_files(self.plugins)
        with self.one_at_a_time:  # for the bytes alone: a worker that dies as it unpickles them holds up no other
            parcel = self.tasks.recv_bytes()
        task = ForkingPickler.loads(parcel)
        self.tasks.close()
        self.begun.release()
        return task


def send(sender: Connection, parcel: memoryview, workers: int) -> None:
    """Send a pickled task to each worker, as long as there is one to take it."""
    with sender, contextlib.suppress(OSError):
        for _ in range(workers):
            sender.send_bytes(parcel)


def refuse_in_a_worker() -> None:
    """End this process where it is one that is only about to become a worker: it is running a script without a guard.

    Whoever writes files calls this first. What waits for the worker says what was wrong.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # as multiprocessing itself asks
        raise SystemExit(UNGUARDED)


def check_main() -> None:
    """Raise UsageError where the main script cannot be run again, and end a process that is to become a worker."""
    refuse_in_a_worker()
    script = multiprocessing.spawn.get_preparation_data("").get("init_main_from_path")
    if script is not None and not os.path.isfile(script):
        raise UsageError(
            f"worker processes run the main script again, but {script} is no file; write the script to a file, and"
            f" {REMEDY}"
        )


def why_none_started(start: Start, codes: Sequence[int | None]) -> ClpError | None:
    """Return why no worker has begun; None where one has, or where they were killed. codes: how they ended."""
    if UNGUARDED in codes:
        return UsageError(f"worker processes run the main script again, and this one starts workers at once; {REMEDY}")
    if start.begun.acquire(block=False) or not any(code is not None and code >= 0 for code in codes):
        return None
    return ClpError(f"no worker process could start, for the reason printed above; in a script, {REMEDY}")
