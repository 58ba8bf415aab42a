"""One job of a table as a program, for batch systems: the same process, threads, locks and resumption as in a queue.

python -m clp_train.bench.one_job THREADS DEVICE MAKES LOG LOCK NEEDS STATE -- COMMAND ...
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from clp_aug.common.terminal import one_line_errors
from clp_aug.contract.errors import InputError, UsageError
from clp_train.bench.job import Job
from clp_train.bench.processes import Here
from clp_train.bench.queue import work_off_at

NONE = "-"  # no device is given; nothing is needed; no state is kept
WORDS = ("THREADS", "DEVICE", "MAKES", "LOG", "LOCK", "NEEDS", "STATE", "--", "COMMAND")


def words_of(job: Job, threads: int, device: str | None) -> list[str]:
    """Return the arguments of this program for a job that needs at most one file."""
    needs = str(job.needs[0]) if job.needs else NONE
    files = (job.makes, job.log, job.lock, needs, job.state or NONE)
    return [str(threads), device or NONE, *map(str, files), "--", *job.command]


def read(words: Sequence[str]) -> tuple[Job, int, str | None]:
    """Return job, threads and device of the arguments. Raises UsageError for any that `words_of` does not make."""
    if len(words) < len(WORDS) or words[7] != "--" or not words[0].isdecimal():
        raise UsageError(f"expected {' '.join(WORDS)} ..., as clp-bench --engine slurm-array writes it")
    threads, device, makes, log, lock, needs, state = words[:7]
    job = Job(
        "",
        tuple(words[8:]),
        Path(makes),
        Path(log),
        Path(lock),
        () if needs == NONE else (Path(needs),),
        None if state == NONE else Path(state),
    )
    return job, int(threads), None if device == NONE else device


@one_line_errors("finished parts stay; submit the same task again to continue")
def main() -> None:
    """Do the job of the arguments. Ends with exit code 0 if its product exists, else 3."""
    job, threads, device = read(sys.argv[1:])
    missing = [path for path in job.needs if not path.exists()]
    if missing and not job.done:
        raise InputError(f"{job.makes}: needs {missing[0]}, which does not exist; its task failed or has not run")
    failed = work_off_at(Here(1, threads, device), [job]).failed
    if failed:
        raise InputError(f"{job.makes}: {failed[str(job.makes)]}")


if __name__ == "__main__":
    main()
