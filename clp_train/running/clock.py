"""The time of a run, over all processes that worked on it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import NamedTuple


class Spent(NamedTuple):
    """seconds: wall time; cpu_seconds: CPU time of all threads, which does not depend on other work on the machine."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0


class Clock:
    """Counts from its construction, plus the time of earlier processes."""

    def __init__(self, before: Spent) -> None:
        self.start = Spent(time.perf_counter() - before.seconds, time.process_time() - before.cpu_seconds)

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Do not count the time inside this context."""
        before = self.read()
        yield
        self.start = Clock(before).start

    def read(self) -> Spent:
        """Return the time so far."""
        return Spent(time.perf_counter() - self.start.seconds, time.process_time() - self.start.cpu_seconds)
