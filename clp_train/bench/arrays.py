"""A table as a script for Slurm: one array of tasks for the shards, then one for the runs."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from clp_aug.common.text import printable
from clp_train.bench.job import Job
from clp_train.bench.jobs import SHARDS
from clp_train.bench.one_job import words_of

SCRIPT = """\
#!/bin/bash
# {title}
#
#   bash FILE                                  submits both arrays; options of sbatch may follow
#   SLURM_ARRAY_TASK_ID=0 bash FILE shards     does one job by hand: shards or runs
#
# The folders below must lie on a disk that this machine and the nodes share.
set -e

do_shard() {{
{shards}
}}

do_run() {{
{runs}
}}

submit() {{
    after=()
{submit}
    echo {hint}
}}

self=$(readlink -f -- "$0")
cd -- {folder}
case "${{1-}}" in
    shards) do_shard "${{SLURM_ARRAY_TASK_ID:?is not set: which shard?}}" ;;
    runs) do_run "${{SLURM_ARRAY_TASK_ID:?is not set: which run?}}" ;;
    *) submit "$@" ;;
esac

# When all is done, this writes the table:
# {command}
"""
SUBMIT = """\
    {name}=$(sbatch --parsable --job-name={name} --cpus-per-task={threads} --array={array} "${{after[@]}}" "$@" \\
        "$self" {name})
    after=(--dependency="afterany:${{{name}%%;*}}")"""
"""Runs begin after all shards have ended, even if one failed: runs that need it report that, the others are done."""


def script_of(
    jobs: Sequence[Job], threads: int, device: str | None, at_once: int | None, command: Sequence[str]
) -> str:
    """Return the script of the jobs that are not done yet; each is one task, run by the same process as in a queue.

    at_once: most tasks of an array that run at once, None for no limit; command: writes the table when all is done.
    """
    open_jobs = [job for job in jobs if not job.done]
    arrays = {
        "shards": [job for job in open_jobs if job.row == SHARDS],
        "runs": [job for job in open_jobs if job.row != SHARDS],
    }
    limit = "" if at_once is None else f"%{at_once}"
    submit = [
        SUBMIT.format(name=name, threads=threads, array=f"0-{len(array) - 1}{limit}")
        for name, array in arrays.items()
        if array
    ]
    last = shlex.join(command)
    return SCRIPT.format(
        title=f"clp-bench: shards: {len(arrays['shards'])}, runs: {len(arrays['runs'])}",
        shards=cases(arrays["shards"], threads, device),
        runs=cases(arrays["runs"], threads, device),
        submit="\n".join(submit),
        hint=shlex.quote(f"when all is done: {last}"),
        folder=shlex.quote(str(Path.cwd())),
        command=printable(last),
    )


def cases(jobs: Sequence[Job], threads: int, device: str | None) -> str:
    """Return the lines of a shell function that does the job with a given number."""
    lines = [f"    {i}) exec {task(job, threads, device)} ;;" for i, job in enumerate(jobs)]
    other = '    *) echo "error: no task has number $1" >&2; exit 2 ;;'
    return "\n".join(['    case "$1" in', *(f"    {line}" for line in (*lines, other)), "    esac"])


def task(job: Job, threads: int, device: str | None) -> str:
    """Return the command that does a job, quoted for a shell."""
    return shlex.join([sys.executable, "-m", "clp_train.bench.one_job", *words_of(job, threads, device)])
