"""Engines: where the blocks of the stages are worked on. Same bytes out of every engine and any worker count.

An engine is a context manager made from (task, workers). Its value maps: items -> iterator of task(item), in order.
A task is a picklable callable; it travels to each worker once, so one start of the workers serves every stage.
Randomness is keyed by sample, so it does not matter who works on what. Workers of "ray" may be on other machines and
see no folder of the run: `clp_aug.remote` gives them a task that hands back what it makes. One that is not here is a
plug-in: module:name, file.py:name, or a name that an installed package has added; where it starts processes, they
unpickle the task after `own_code.expect_files`, with what `own_code.loaded_files` gave here.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

from clp_aug.common.plugins import Plugin, find
from clp_aug.common.ray_cluster import require_ray
from clp_aug.contract.errors import ClpError
from clp_aug.engines.ray_crew import on_ray
from clp_aug.engines.starting import Start, check_main, why_none_started
from clp_aug.engines.tasks import Map, Task, quiet_threads

RAY = "ray"


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
    try:
        _task = start.take()
    except ClpError as error:
        _task = partial(_refuse, error)


def _refuse(error: ClpError, item: Any) -> Any:
    """Say with the first item why a worker has no task."""
    raise error


def _end_with_the_parent() -> None:
    """Wait until the parent is gone, then go: a worker holds both ends of its queue and would wait forever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def _begin() -> None:
    """Do nothing: whoever is asked has started."""


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
            pool.submit(_begin)  # they start while this process goes on
            yield lambda items: pool.map(_work, items)
        except BrokenProcessPool:
            made = list((pool._processes or {}).values())  # nothing public tells how a worker ended
            pool.shutdown(wait=True, cancel_futures=True)
            raise why_none_started(start, [process.exitcode for process in made]) or ClpError(
                "a worker process died (killed, or out of memory); run again with --resume, with fewer --workers"
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


ENGINES: dict[str, Callable[..., AbstractContextManager[Map]]] = {
    "serial": serial, "processes": processes, RAY: on_ray,
}  # fmt: skip


def plugin_of(name: str) -> Plugin | None:
    """Return the plug-in that a name stands for, None for a registered one. Raises UsageError for an unknown name."""
    return find(ENGINES, name, "engine")


def engine_of(name: str, address: str | None = None) -> Callable[..., AbstractContextManager[Map]]:
    """Return the engine of that name, registered or a plug-in. address: of the cluster that "ray" works on.

    Raises UsageError for an unknown name, and for one whose packages are not installed.
    """
    plugin = plugin_of(name)
    if name == RAY:
        require_ray()
        return partial(on_ray, address=address)
    if plugin is None:
        return ENGINES[name]
    if not callable(plugin.value):
        raise plugin.refuse("expected a context manager made from (task, workers), whose value maps items in order")
    engine: Callable[..., AbstractContextManager[Map]] = plugin.value
    return engine


def default_engine(workers: int) -> str:
    """One worker needs no second process."""
    return "serial" if workers == 1 else "processes"


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
