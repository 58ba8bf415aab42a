"""How far a run is: what library functions tell, and lines for who reads a log and not a terminal."""

from __future__ import annotations

import contextlib
import datetime
import operator
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TextIO

from clp_aug.common.text import printable

Watch = Callable[[Iterable[Any], str], Iterable[Any]]
"""(rows or epochs, their name) -> the same, shown to somebody while they are gone through."""
PAUSE = 20.0  # seconds from one line of a stage to the next


def unwatched(rows: Iterable[Any], name: str) -> Iterable[Any]:
    """Return the rows; report nothing."""
    return rows


class Bars(Protocol):
    """What a command tells its progress: bars on a terminal (rich), lines elsewhere. A task is one stage of a run."""

    def __enter__(self) -> Bars: ...
    def __exit__(self, *error: Any) -> None: ...
    def add_task(self, description: str, *, total: float | None) -> Any: ...
    def advance(self, task_id: Any, advance: float = 1) -> None: ...
    def update(
        self,
        task_id: Any,
        *,
        total: float | None = None,
        completed: float | None = None,
        description: str | None = None,
    ) -> None: ...
    def track(self, sequence: Iterable[Any], *, description: str) -> Iterable[Any]: ...


@dataclass
class Stage:
    """How far one stage is. told: when its last line was printed; first: when it moved first, and how far it was then.

    A stage that was taken up again starts with a leap, which says nothing of its speed.
    """

    description: str
    total: float | None
    told: float
    began: float
    completed: float = 0
    first: tuple[float, float] | None = None

    @property
    def is_done(self) -> bool:
        """Whether nothing is left of a stage whose end is known."""
        return self.total is not None and self.completed >= self.total

    def line(self, now: float) -> str:
        """Return how far it is, how fast, and how long it will take: "INFILL: 640 of 2,000, 32/s, 0:00:43 left"."""
        facts = [f"{self.completed:,.0f}" + ("" if self.total is None else f" of {self.total:,.0f}")]
        start, at_start = self.first or (now, self.completed)
        if now > start and self.completed > at_start:
            rate = (self.completed - at_start) / (now - start)
            facts.append(rate_text(rate))
            if self.total is not None:
                facts.append(f"{duration((self.total - self.completed) / rate)} left")
        return ", ".join(facts)


class Lines:
    """Progress as lines of a log: one when a stage begins, one every PAUSE seconds while it moves, one at its end."""

    def __init__(self, stream: TextIO | None, clock: Callable[[], float] = time.monotonic) -> None:
        """stream: None to be silent; clock: seconds."""
        self.stream, self.clock = stream, clock

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *error: Any) -> None:
        pass

    def add_task(self, description: str, *, total: float | None) -> Stage:
        """Begin a stage and return it. total: None where it is not known yet."""
        now = self.clock()
        stage = Stage(description, total, told=now, began=now)
        self.tell(stage, "begins" if total is None else f"{total:,.0f} to do")
        return stage

    def advance(self, task_id: Stage, advance: float = 1) -> None:
        """Take note of what was done since the last call."""
        self.update(task_id, completed=task_id.completed + advance)

    def update(
        self,
        task_id: Stage,
        *,
        total: float | None = None,
        completed: float | None = None,
        description: str | None = None,
    ) -> None:
        """Take note of how far a stage is, and print a line if it is due."""
        stage, now, was_done = task_id, self.clock(), task_id.is_done
        stage.total = stage.total if total is None else total
        stage.completed = stage.completed if completed is None else completed
        stage.description = description or stage.description
        if stage.first is None and completed is not None:
            stage.first = (now, completed)
        if stage.is_done and not was_done:
            self.tell(stage, f"{stage.completed:,.0f} done in {duration(now - stage.began)}")
        elif not stage.is_done and now - stage.told >= PAUSE:
            stage.told = now
            self.tell(stage, stage.line(now))

    def track(self, sequence: Iterable[Any], *, description: str) -> Iterator[Any]:
        """Yield the items of a sequence as a stage of its own."""
        stage = self.add_task(description, total=operator.length_hint(sequence) or None)
        for item in sequence:
            yield item
            self.advance(stage)

    def tell(self, stage: Stage, text: str) -> None:
        """Print a line. A log that takes no more of them, on a full disk for instance, stops no run."""
        if self.stream is not None:
            with contextlib.suppress(OSError, ValueError):
                print(printable(f"{stage.description}: {text}"), file=self.stream, flush=True)


def rate_text(rate: float) -> str:
    """Return pictures or steps a second as text."""
    return f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2f}/s"


def duration(seconds: float) -> str:
    """Return seconds as hours, minutes and seconds."""
    return str(datetime.timedelta(seconds=round(seconds)))
