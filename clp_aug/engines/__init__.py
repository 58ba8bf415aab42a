"""Engines: where the blocks of the stages are worked on. Same bytes out of every engine and any worker count.

An engine is a context manager made from (task, workers). Its value maps: items -> iterator of task(item), in order.
A task is a picklable callable; it travels to each worker once, so one start of the workers serves every stage.
Randomness is keyed by sample, so it does not matter who works on what.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from clp_aug.contract.errors import ClpError
from clp_aug.engines.starting import Start, check_main, why_none_started

Task = Callable[[Any], Any]
Map = Callable[[Iterable[Any]], Iterator[Any]]


def quiet_threads() -> None:
    """Let OpenCV use the calling thread only: workers share the cores among themselves."""
    import cv2

    cv2.setNumThreads(0)


@contextmanager
def serial(task: Task, workers: int = 1) -> Iterator[Map]:
    """Work in this process."""
    quiet_threads()
    yield lambda items: map(task, items)


_task: Task | None = None  # the task of a worker process, set once when it starts


def _start(start: Start) -> None:
    global _task
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl-C is the parent's to handle
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    quiet_threads()
    _task = start.take()


def _end_with_the_parent() -> None:
    """Wait until the parent is gone, then go: a worker holds both ends of its queue and would wait forever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def _work(item: Any) -> Any:
    if _task is None:
        raise RuntimeError("this process has no task: it is no worker")
    return _task(item)


@contextmanager
def processes(task: Task, workers: int = 2) -> Iterator[Map]:
    """Work in spawned processes, one thread each.

    Raises ClpError when a worker dies, UsageError in a script that workers cannot run again or that has no main guard.
    """
    check_main()
    context = multiprocessing.get_context("spawn")
    with Start.of(task, workers, context) as start:
        pool = ProcessPoolExecutor(workers, context, _start, (start,))
        try:
            yield lambda items: pool.map(_work, items)
        except BrokenProcessPool:
            made = list((pool._processes or {}).values())  # nothing public tells how a worker ended
            pool.shutdown(wait=True, cancel_futures=True)
            raise why_none_started(start, [process.exitcode for process in made]) or ClpError(
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
