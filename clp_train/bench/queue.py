"""The queue: shards, then runs, each a command of ours in a process of its own; killed at any moment it goes on.

What is done is on disk: a shard has its name only when it is complete, a run's folder has a result. Nothing is made by
two at once: a queue holds the lock of a job that it does, and the process that does it holds the lock of what it makes,
which outlives a killed queue as long as that process lives. Every process has the same number of threads, or results
would depend on how many run side by side.

Where the processes run is the place's to say: this machine (`processes.Here`), or a cluster (`on_ray.Cluster`).
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
    """Where the queue is. seconds: of finished jobs, by row; failed: their last lines, by folder or shard."""

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
        """Start a job; False while somebody else makes the same. Raises InputError when it cannot be started."""

    def ended(self) -> list[tuple[Job, Ending]]:
        """Return the jobs that ended since the last call, and how. Raises ClpError for what must stop the queue."""

    def stop(self) -> None:
        """End the jobs that are at work; they can all go on later."""


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def interrupted_by_termination() -> Iterator[None]:
    """Let SIGTERM interrupt as ctrl-C does, which would else leave what this process started running."""
    if threading.current_thread() is not threading.main_thread():  # no other thread may say what a signal does
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
    """Do all jobs that are not done yet on this machine, several at once; return how it went.

    device: where runs are told to compute, all on the same one.
    """
    return work_off_at(Here(workers, threads, device), jobs, on_change)


@interrupted_by_termination()
def work_off_at(place: Place, jobs: Sequence[Job], on_change: OnChange = lambda progress: None) -> Progress:
    """Do all jobs that are not done yet at a place; return how it went. A failed job does not stop the others.

    Interrupted or terminated, it stops its processes, which can all go on later.
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
    """Yield the jobs whose needs are there."""
    return (job for job in waiting if all(path.exists() for path in job.needs))


def is_obsolete(job: Job, progress: Progress) -> bool:
    """Whether a waiting job must not be started any more: another queue did it, or what it needs could not be made."""
    if job.done:
        progress.done += 1
        return True
    missing = [path for path in job.needs if str(path) in progress.failed]
    if missing:
        progress.failed[str(job.makes)] = f"needs {missing[0].name}, which failed"
    return bool(missing)


def clear_away(jobs: Iterable[Job]) -> None:
    """Remove the locks and the logs that killed queues left of jobs that are done."""
    for job in jobs:
        is_held(job.lock)
        if job.log.exists() and not is_held(lock_of(job.log)):
            job.log.unlink(missing_ok=True)


def take_note(job: Job, ending: Ending, progress: Progress) -> None:
    """Take note of a job that ended."""
    if not job.done:
        progress.failed[str(job.makes)] = ending.failure
        return
    progress.done += 1
    if ending.seconds is not None:
        progress.seconds.setdefault(job.row, []).append(ending.seconds)


def seconds_left(jobs: Sequence[Job], progress: Progress, workers: int) -> float | None:
    """Return the time that the open jobs will take: a row's as long as its others, else as the mean of all; None
    before anything is known.
    """
    all_seconds = [s for times in progress.seconds.values() for s in times]
    if not all_seconds:
        return None
    mean = sum(all_seconds) / len(all_seconds)
    open_jobs = [job for job in jobs if not job.done and str(job.makes) not in progress.failed]
    times = [progress.seconds.get(job.row, [mean]) for job in open_jobs]
    return sum(sum(t) / len(t) for t in times) / workers
