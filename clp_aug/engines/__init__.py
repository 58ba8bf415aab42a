"""Engines: where the blocks of a stage are worked on. Same bytes out of every engine and any worker count.

An engine is a function (task, blocks, workers) -> iterator of task(block) in the order of the blocks. A task is a
picklable callable; randomness is keyed by sample, so it does not matter who works on what.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from clp_aug.contract.errors import ClpError

Task = Callable[[Any], Any]


def quiet_threads() -> None:
    """Let OpenCV use the calling thread only: workers share the cores among themselves."""
    import cv2

    cv2.setNumThreads(0)


def serial(task: Task, blocks: Sequence, workers: int = 1) -> Iterator:
    """Work through the blocks in this process."""
    quiet_threads()
    return map(task, blocks)


_task: Task | None = None  # the task of a worker process, set once when it starts


def _start(task: Task) -> None:
    global _task
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl-C is the parent's to handle
    quiet_threads()
    _task = task


def _work(block) -> Any:
    return _task(block)


def processes(task: Task, blocks: Sequence, workers: int = 2) -> Iterator:
    """Spread the blocks over spawned processes, one thread each. Raises ClpError when a worker dies."""
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start, (task,))
    try:
        yield from pool.map(_work, blocks)
    except BrokenProcessPool:
        raise ClpError(
            "a worker process died (killed, or out of memory); run again with --resume, with fewer --workers"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


ENGINES = {"serial": serial, "processes": processes}


def default_engine(workers: int) -> str:
    """One worker needs no second process."""
    return "serial" if workers == 1 else "processes"


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
