"""A part of a test in a fork of its process, which ends there whatever happens: it never goes on with the suite."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable

import torch


def code_in_a_fork(work: Callable[[], int | None]) -> int:
    """Do some work in a fork, and return its exit code: what it returns (None is 0), 1 for an error, -signal."""
    return codes_in_forks(work, 1)[0]


def codes_in_forks(work: Callable[[], int | None], count: int) -> list[int]:
    """Do some work in several forks side by side, and return the exit code of each."""
    pids = [fork(work) for _ in range(count)]
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


def fork(work: Callable[[], int | None]) -> int:
    """Do some work in a fork; return its number."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            torch.set_num_threads(1)  # a fork has none of its parent's pool, and would wait for it
            code = int(work() or 0)
        except SystemExit as end:
            code = int(end.code or 0)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(code)
    return pid
