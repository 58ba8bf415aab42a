"""Engines: they run the blocks of the stages. Every engine and any number of workers give the same bytes.

An engine is a context manager made from (task, workers). Its value maps items -> iterator of task(item), in order. A
task is a picklable callable. Each worker gets it once, so one start of the workers serves every stage. Randomness is
keyed by sample, so results do not depend on the worker. Workers of "ray" may be on other machines and see no folder of
the run: `clp_aug.remote` gives them a task that returns its results. An engine that is not registered here is a
plug-in: module:name, file.py:name, or a name that an installed package has added. If it starts processes, they call
`own_code.expect_files` with the value of `own_code.loaded_files` before they unpickle the task.
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


_task: Task | None = None  # the task of a worker process, set once at its start


def _start(start: Start) -> None:
    global _task
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles ctrl-C
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    quiet_threads()
    try:
        _task = start.take()
    except ClpError as error:
        _task = partial(_refuse, error)


def _refuse(error: ClpError, item: Any) -> Any:
    """Raise the reason why a worker has no task, at its first item."""
    raise error


def _end_with_the_parent() -> None:
    """Wait until the parent ends, then end: a worker holds both ends of its queue and would wait forever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def _begin() -> None:
    """Do nothing: a worker that runs this has started."""


def _work(item: Any) -> Any:
    if _task is None:
        raise RuntimeError("this process has no task: it is no worker")
    return _task(item)


@contextmanager
def processes(task: Task, workers: int = 2) -> Iterator[Map]:
    """Work in spawned processes, one thread each.

    Raises ClpError if a worker dies, UsageError in a script that workers cannot run again or that has no main guard.
    """
    check_main()
    context = multiprocessing.get_context("spawn")
    with Start.of(task, workers, context) as start:
        pool = ProcessPoolExecutor(workers, context, _start, (start,))
        try:
            pool.submit(_begin)  # they start while this process goes on
            yield lambda items: pool.map(_work, items)
        except BrokenProcessPool:
            made = list((pool._processes or {}).values())  # no public interface says how a worker ended
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
    """Return the plug-in of a name, None for a registered name. Raises UsageError for an unknown name."""
    return find(ENGINES, name, "engine")


def engine_of(name: str, address: str | None = None) -> Callable[..., AbstractContextManager[Map]]:
    """Return the engine of that name, registered or a plug-in. address: of the cluster for "ray".

    Raises UsageError for an unknown name, and for missing packages.
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
    """Return the default engine: serial for one worker, else processes."""
    return "serial" if workers == 1 else "processes"


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
