"""The queue: shards, then runs, each a command in its own process. After a kill at any moment, it continues.

The disk shows what is done: a shard has its name only when it is complete, and the folder of a finished run has a
result. Two queues never do the same job: a queue holds the lock of its job, and the process holds the lock of its
product. That second lock stays while the process lives, even if the queue is killed. Every process has the same number
of threads, because otherwise results would depend on the number of processes at once.

The place decides where the processes run: this machine (`processes.Here`), or a cluster (`on_ray.Cluster`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from clp_aug.common.locks import is_held, lock_of
from clp_train.bench.job import Job
from clp_train.bench.processes import PAUSE, Ending, Here

OnChange = Callable[["Progress"], None]


@dataclass
class Progress:
    """The state of the queue. seconds: of finished jobs, by row; failed: last lines of logs, by folder or shard."""

    total: int
    done: int = 0
    running: list[str] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


class Place(Protocol):
    """Where jobs are done."""

    @property
    def running(self) -> Sequence[Job]:
        """The jobs at work."""

    @property
    def most(self) -> int:
        """How many jobs can be at work at once."""

    def start(self, job: Job) -> bool:
        """Start a job; False while another queue does the same job. Raises InputError when it cannot be started."""

    def ended(self) -> list[tuple[Job, Ending]]:
        """Return the jobs that ended since the last call, and how. Raises ClpError if the queue must stop."""

    def stop(self) -> None:
        """End the jobs that are at work; they can all go on later."""


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def interrupted_by_termination() -> Iterator[None]:
    """Let SIGTERM interrupt as ctrl-C does; otherwise it would leave the started processes running."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set signal handlers
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def work_off(
    jobs: Sequence[Job],
    workers: int,
    threads: int,
    on_change: OnChange = lambda progress: None,
    device: str | None = None,
) -> Progress:
    """Do all jobs that are not done yet on this machine, several at once; return the final state.

    device: of all runs.
    """
    return work_off_at(Here(workers, threads, device), jobs, on_change)


@interrupted_by_termination()
def work_off_at(place: Place, jobs: Sequence[Job], on_change: OnChange = lambda progress: None) -> Progress:
    """Do all jobs that are not done yet at a place; return the final state. A failed job does not stop the others.

    When interrupted or terminated, it stops its processes; all of them can continue later.
    """
    waiting = [job for job in jobs if not job.done]
    clear_away(job for job in jobs if job.done)
    progress = Progress(len(jobs), len(jobs) - len(waiting))
    on_change(progress)
    try:
        while waiting or place.running:
            for job in list(ready(waiting)):
                if len(place.running) >= place.most:
                    break
                if place.start(job):
                    waiting.remove(job)
            endings = place.ended()
            for job, ending in endings:
                if ending.again:
                    waiting.append(job)
                else:
                    take_note(job, ending, progress)
            waiting = [job for job in waiting if not is_obsolete(job, progress)]
            progress.running = [job.makes.parent.name for job in place.running]
            if endings:
                on_change(progress)
            time.sleep(PAUSE)
    finally:
        place.stop()
    return progress


def ready(waiting: Sequence[Job]) -> Iterator[Job]:
    """Yield the jobs that have everything they need."""
    return (job for job in waiting if all(path.exists() for path in job.needs))


def is_obsolete(job: Job, progress: Progress) -> bool:
    """Whether a waiting job need not start any more: another queue did it, or a job that it needs has failed."""
    if job.done:
        progress.done += 1
        return True
    missing = [path for path in job.needs if str(path) in progress.failed]
    if missing:
        progress.failed[str(job.makes)] = f"needs {missing[0].name}, which failed"
    return bool(missing)


def clear_away(jobs: Iterable[Job]) -> None:
    """Remove the locks and logs of finished jobs that killed queues left."""
    for job in jobs:
        is_held(job.lock)
        if job.log.exists() and not is_held(lock_of(job.log)):
            job.log.unlink(missing_ok=True)


def take_note(job: Job, ending: Ending, progress: Progress) -> None:
    """Record a job that ended."""
    if not job.done:
        progress.failed[str(job.makes)] = ending.failure
        return
    progress.done += 1
    if ending.seconds is not None:
        progress.seconds.setdefault(job.row, []).append(ending.seconds)


def seconds_left(jobs: Sequence[Job], progress: Progress, workers: int) -> float | None:
    """Return the estimated time of the open jobs: the mean of finished jobs of the same row, else of all jobs; None
    before any job has finished.
    """
    all_seconds = [s for times in progress.seconds.values() for s in times]
    if not all_seconds:
        return None
    mean = sum(all_seconds) / len(all_seconds)
    open_jobs = [job for job in jobs if not job.done and str(job.makes) not in progress.failed]
    times = [progress.seconds.get(job.row, [mean]) for job in open_jobs]
    return sum(sum(t) / len(t) for t in times) / workers
