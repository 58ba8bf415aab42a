"""How long a run took, over all the processes that it was done in."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import NamedTuple


class Spent(NamedTuple):
    """seconds: by the clock on the wall; cpu_seconds: of all its threads, which other work on the machine does not
    stretch.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0


class Clock:
    """Runs from its making, on top of what earlier processes spent."""

    def __init__(self, before: Spent) -> None:
        self.start = Spent(time.perf_counter() - before.seconds, time.process_time() - before.cpu_seconds)

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Leave out what is done within."""
        before = self.read()
        yield
        self.start = Clock(before).start

    def read(self) -> Spent:
        """Return what was spent so far."""
        return Spent(time.perf_counter() - self.start.seconds, time.process_time() - self.start.cpu_seconds)
