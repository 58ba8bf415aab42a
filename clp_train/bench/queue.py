"""The queue: shards, then runs, each a command of ours in a process of its own; killed at any moment it goes on.

What is done is on disk: a shard has its name only when it is complete, a run's folder has a result. Nothing is made by
two at once: a queue holds the lock of a job that it does, and the process that does it holds the lock of what it makes,
which outlives a killed queue as long as that process lives. Every process has the same number of threads, or results
would depend on how many run side by side.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clp_aug.common.files import disk_error
from clp_aug.common.locks import held_for, is_held, lock_of
from clp_aug.contract.errors import EXIT_USAGE, UsageError
from clp_aug.nets.devices import CPU
from clp_train.bench.jobs import Run, Shard
from clp_train.presets.choosing import NONE
from clp_train.run_folder import LOCK, RESULT
from clp_train.running.checkpoint import CHECKPOINT

PAUSE = 0.2  # seconds between two looks at the processes
THREAD_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
CACHE = "cache"  # folder of decoded pictures and features, shared by all runs
SHARDS = "shards"  # the row of jobs that make them
OnChange = Callable[["Progress"], None]


@dataclass
class Progress:
    """Where the queue is. seconds: of finished jobs, by row; failed: their last lines, by folder or shard."""

    total: int
    done: int = 0
    running: list[str] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """One process to run. needs: files that must be there before; makes: the file that says it is done; lock: what the
    process holds while it makes that.
    """

    row: str
    command: tuple[str, ...]
    makes: Path
    log: Path
    lock: Path
    needs: tuple[Path, ...] = ()

    @property
    def done(self) -> bool:
        """Whether what it makes is there."""
        return self.makes.exists()


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def jobs_of(runs: Sequence[Run]) -> list[Job]:
    """Return the jobs of runs, shards first where they are needed first; each once."""
    jobs: dict[Path, Job] = {}
    for run in runs:
        for job in (shard_job(run.shard), run_job(run)):
            jobs.setdefault(job.makes, job)
    return list(jobs.values())


def shard_job(shard: Shard) -> Job:
    """Return the job that makes a shard; one that was killed leaves a staging file, which is taken up."""
    command = (
        script("clp-augment"),
        *shard.arguments,
        "--out",
        str(shard.path),
        "--workers",
        "1",
        "--quiet",
        "--resume",
    )
    return Job(SHARDS, command, shard.path, shard.path.with_suffix(".log"), lock_of(shard.path))


def run_job(run: Run) -> Job:
    """Return the job that does a run."""
    paths = ("--meta", str(run.shard.path), "--out", str(run.folder), "--cache", str(run.folder.parents[1] / CACHE))
    plain = () if "--preset" in run.arguments else ("--preset", NONE)  # a table says all that is not a default
    command = (script("clp-train"), *run.arguments, *plain, *paths, "--quiet")
    log, lock = run.folder.with_suffix(".log"), run.folder / LOCK
    return Job(run.row, command, run.folder / RESULT, log, lock, (run.shard.path,))


def script(name: str) -> str:
    """Return the path of one of our commands, beside this Python."""
    return str(Path(sys.executable).parent / name)


@dataclass
class Running:
    """A job in its process, with its lock, which is closed at its end."""

    job: Job
    process: subprocess.Popen[bytes]
    lock: contextlib.ExitStack
    start: float


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


@interrupted_by_termination()
def work_off(
    jobs: Sequence[Job],
    workers: int,
    threads: int,
    on_change: OnChange = lambda progress: None,
    device: str | None = None,
) -> Progress:
    """Do all jobs that are not done yet, several at once; return how it went. A failed job does not stop the others.

    device: where runs are told to compute, all on the same one. Interrupted or terminated, it stops its processes,
    which can all go on later.
    """
    waiting = [job for job in jobs if not job.done]
    clear_away(job for job in jobs if job.done)
    progress = Progress(len(jobs), len(jobs) - len(waiting))
    running: list[Running] = []
    on_change(progress)
    try:
        while waiting or running:
            for job in list(ready(waiting)):
                if len(running) == workers:
                    break
                entry = start(job, threads, device)
                if entry is not None:
                    waiting.remove(job)
                    running.append(entry)
            ended_entries = [job_process for job_process in running if job_process.process.poll() is not None]
            for job_process in ended_entries:
                running.remove(job_process)
                if came_second(job_process):
                    waiting.append(job_process.job)
                else:
                    finish(job_process, progress)
                job_process.lock.close()
            waiting = [job for job in waiting if not is_obsolete(job, progress)]
            progress.running = [job_process.job.makes.parent.name for job_process in running]
            if ended_entries:
                on_change(progress)
            time.sleep(PAUSE)
    finally:
        for job_process in running:
            job_process.process.terminate()
        for job_process in running:
            job_process.process.wait()
            job_process.lock.close()
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


def start(job: Job, threads: int, device: str | None = None) -> Running | None:
    """Start a job's process; None while another queue has its lock, or the process of a killed one is at work.

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
    """Start a job's process. What it prints goes into its log. Raises InputError when it cannot be started."""
    command = [*job.command, *resumption(job), *place_of(job, device)]
    environment = os.environ | dict.fromkeys(THREAD_SETTINGS, str(threads))
    try:
        with open(job.log, "w") as log:
            return subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
            )
    except OSError as error:
        raise disk_error(error.filename or job.log, error, "open or start") from None


def resumption(job: Job) -> list[str]:
    """Return --resume for a run that was killed."""
    is_run = job.makes.name == RESULT
    return ["--resume"] if is_run and (job.makes.parent / CHECKPOINT).exists() else []


def place_of(job: Job, device: str | None) -> list[str]:
    """Return how a job is told where to compute. A shard whose making needs no network takes no accelerator's name."""
    is_run = job.makes.name == RESULT
    return [] if device is None or not (is_run or device == CPU) else ["--device", device]


def came_second(entry: Running) -> bool:
    """Whether a process ended because another one, that of a killed queue, makes the same."""
    return entry.process.returncode == EXIT_USAGE and not entry.job.done and is_held(entry.job.lock)


def finish(entry: Running, progress: Progress) -> None:
    """Take note of a process that ended."""
    job, code = entry.job, entry.process.returncode
    if job.done:
        progress.done += 1
        if code == 0:
            progress.seconds.setdefault(job.row, []).append(time.monotonic() - entry.start)
        job.log.unlink(missing_ok=True)
        return
    try:
        lines = job.log.read_text(errors="replace").strip().splitlines()
    except OSError as error:
        lines = [f"its log cannot be read ({error.strerror})"]
    progress.failed[str(job.makes)] = f"exit code {code}: {lines[-1] if lines else 'it printed nothing'}"


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
