"""How far a run is: what library functions report, and plain lines for a file, a pipe or a notebook."""

from __future__ import annotations

import contextlib
import datetime
import operator
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from typing import Any, Protocol, TextIO, TypeVar

from clp_aug.common.text import printable

Watch = Callable[[Iterable[Any], str], Iterable[Any]]
"""(rows or epochs, their name) -> the same, shown to somebody while they are gone through."""
Part = TypeVar("Part", bound=Sized)
PAUSE = 30.0  # seconds from one line of a stage to the next


def unwatched(rows: Iterable[Any], name: str) -> Iterable[Any]:
    """Return the rows; report nothing."""
    return rows


def passing(parts: Iterable[Part], name: str) -> Iterable[Part]:
    """Return the parts of a stream; where progress goes into a log, report each part that was used.

    parts: each with its length, in pictures; those that are made one by one are somebody else's to report. For long
    loops of library functions without a `Watch`; bars on a terminal do not show them.
    """
    return SINKS[-1].parts(parts, name) if SINKS and isinstance(parts, Sequence) else parts


def counting(name: str, total: int) -> Callable[[int], None]:
    """Return what is called with the number of things done since the last call; as `passing`, for loops that count."""
    if not SINKS:
        return lambda done: None
    sink, stage = SINKS[-1], SINKS[-1].add_task(name, total=total)
    return lambda done: sink.advance(stage, done)


class Bars(Protocol):
    """What a command reports its progress to: bars on a terminal (rich), lines elsewhere. A task is one stage."""

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

    A stage that goes on after a kill starts with a leap, which says nothing about its speed. has_lines: whether a line
    was printed.
    """

    description: str
    total: float | None
    told: float
    began: float
    completed: float = 0
    first: tuple[float, float] | None = None
    has_lines: bool = False

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
    """Progress as lines of a log: one every PAUSE seconds while a stage moves, and one at its end.

    A stage that takes less than PAUSE has none. Stages inside library functions that nobody watches have lines too, see
    `passing`.
    """

    def __init__(self, stream: TextIO | None, clock: Callable[[], float] = time.monotonic) -> None:
        """stream: None to be silent; clock: seconds."""
        self.stream, self.clock = stream, clock

    def __enter__(self) -> Lines:
        SINKS.append(self)
        return self

    def __exit__(self, *error: Any) -> None:
        SINKS.remove(self)

    def add_task(self, description: str, *, total: float | None) -> Stage:
        """Begin a stage and return it. total: None where it is not known yet."""
        now = self.clock()
        return Stage(description, total, told=now, began=now)

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
        if stage.is_done and not was_done and (stage.has_lines or now - stage.began >= PAUSE):
            self.tell(stage, f"{stage.completed:,.0f} done in {duration(now - stage.began)}")
        elif not stage.is_done and now - stage.told >= PAUSE:
            stage.told, stage.has_lines = now, True
            self.tell(stage, stage.line(now))

    def track(self, sequence: Iterable[Any], *, description: str) -> Iterator[Any]:
        """Yield the items of a sequence as a stage of its own."""
        stage = self.add_task(description, total=operator.length_hint(sequence) or None)
        for item in sequence:
            yield item
            self.advance(stage)

    def parts(self, parts: Sequence[Part], name: str) -> Iterator[Part]:
        """Yield the parts of a stream as a stage of its own, whose progress is their length."""
        stage = self.add_task(name, total=sum(map(len, parts)))
        for part in parts:
            yield part
            self.advance(stage, len(part))

    def tell(self, stage: Stage, text: str) -> None:
        """Print a line. A log that cannot be written, on a full disk for instance, stops no run."""
        if self.stream is not None:
            with contextlib.suppress(OSError, ValueError):
                print(printable(f"{stage.description}: {text}"), file=self.stream, flush=True)


SINKS: list[Lines] = []
"""Where `passing` reports to: the lines of the command that runs, the last that began."""


def rate_text(rate: float) -> str:
    """Return pictures or steps a second as text."""
    return f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2f}/s"


def duration(seconds: float) -> str:
    """Return seconds as hours, minutes and seconds."""
    return str(datetime.timedelta(seconds=round(seconds)))
