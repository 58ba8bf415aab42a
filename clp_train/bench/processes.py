"""Jobs as processes of this machine: how a process starts, resumes a killed one, ends, and reports.

A process is independent of the queue that started it and continues if the queue is killed. All processes have the same
number of threads.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass

from clp_aug.common.files import disk_error
from clp_aug.common.locks import held_for, is_held
from clp_aug.contract.errors import EXIT_USAGE, UsageError
from clp_aug.nets.devices import CPU
from clp_train.bench.job import Job

PAUSE = 0.2  # seconds between two checks of the processes
THREAD_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass
class Running:
    """A job in its process, with its lock, which is closed at its end."""

    job: Job
    process: subprocess.Popen[bytes]
    lock: contextlib.ExitStack
    start: float


@dataclass(frozen=True)
class Ending:
    """How a job's process ended.

    again: another queue does the same job, so this one waits; made: its product exists; seconds: its time, None if it
    did not end by itself; failure: why there is no product, in one line.
    """

    again: bool = False
    made: bool = False
    seconds: float | None = None
    failure: str = ""


class Here:
    """The place of the local queue: several processes at once on this machine.

    device: of all runs.
    """

    def __init__(self, workers: int, threads: int, device: str | None = None) -> None:
        self.workers, self.threads, self.device = workers, threads, device
        self.entries: list[Running] = []

    @property
    def running(self) -> Sequence[Job]:
        """The jobs at work."""
        return [entry.job for entry in self.entries]

    @property
    def most(self) -> int:
        """How many jobs can be at work at once."""
        return self.workers

    def start(self, job: Job) -> bool:
        """Start a job; False while another queue does the same job. Raises InputError when it cannot be started."""
        entry = start(job, self.threads, self.device)
        if entry is not None:
            self.entries.append(entry)
        return entry is not None

    def ended(self) -> list[tuple[Job, Ending]]:
        """Return the jobs whose processes ended since the last call, and how."""
        over = [entry for entry in self.entries if entry.process.poll() is not None]
        self.entries = [entry for entry in self.entries if entry not in over]
        return [(entry.job, end(entry)) for entry in over]

    def stop(self) -> None:
        """End the processes that are at work; they can all go on later."""
        stop(self.entries)
        self.entries = []


def start(job: Job, threads: int, device: str | None = None) -> Running | None:
    """Start a job's process; None while another queue holds its lock, or a process of a killed queue works on it.

    Raises InputError when it cannot be started.
    """
    with contextlib.ExitStack() as lock:
        try:
            lock.enter_context(held_for(job.log, "queue"))
        except UsageError:
            return None
        if job.done or is_held(job.lock):
            return None
        return Running(job, run_apart(job, threads, device), lock.pop_all(), time.monotonic())


def run_apart(job: Job, threads: int, device: str | None) -> subprocess.Popen[bytes]:
    """Start a job's process. Its output goes into its log. Raises InputError when it cannot be started."""
    command = [*job.command, *resumption(job), *place_of(job, device)]
    environment = os.environ | dict.fromkeys(THREAD_SETTINGS, str(threads))
    try:
        with open(job.log, "wb") as log:
            return subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
            )
    except OSError as error:
        raise disk_error(error.filename or job.log, error, "open or start") from None


def resumption(job: Job) -> list[str]:
    """Return --resume for a run that was killed."""
    return ["--resume"] if job.state is not None and job.state.exists() else []


def place_of(job: Job, device: str | None) -> list[str]:
    """Return the argument for the device of a job. A shard that needs no network gets no accelerator."""
    is_run = job.state is not None
    return [] if device is None or not (is_run or device == CPU) else ["--device", device]


def end(entry: Running) -> Ending:
    """Return how a process ended, and release its lock."""
    with entry.lock:
        return Ending(again=True) if came_second(entry) else ending_of(entry)


def came_second(entry: Running) -> bool:
    """Whether a process ended because another one, of a killed queue, does the same job."""
    return entry.process.returncode == EXIT_USAGE and not entry.job.done and is_held(entry.job.lock)


def ending_of(entry: Running) -> Ending:
    """Return how a process ended. Its log stays only if it failed."""
    job, code = entry.job, entry.process.returncode
    if job.done:
        job.log.unlink(missing_ok=True)
        return Ending(made=True, seconds=time.monotonic() - entry.start if code == 0 else None)
    try:
        lines = job.log.read_text(encoding="locale", errors="replace").strip().splitlines()
    except OSError as error:
        lines = [f"its log cannot be read ({error.strerror})"]
    return Ending(failure=f"exit code {code}: {lines[-1] if lines else 'it printed nothing'}")


def stop(entries: Sequence[Running]) -> None:
    """End processes that are at work, and release their locks."""
    for entry in entries:
        entry.process.terminate()
    for entry in entries:
        entry.process.wait()
        entry.lock.close()
