"""REPORT: figures of an audit as bars with intervals, as numbers for an HTML and SVG template."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from clp_train.auditing.estimates import Estimate
from clp_train.auditing.words import percent, points, tenths
from clp_train.report.curves import ticks

MOST_ROWS = 20  # most rows of a panel: nobody reads more classes
LOWEST = -2.0  # smaller than all differences of shares
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


class Bar(NamedTuple):
    """One figure of one model. All positions are in per cent of the panel's width.

    model: 0 for the first; start, width: the bar, from zero to the figure; low, high: ends of its interval, None
    without one; text: the figure; interval: its interval as text.
    """

    model: int
    start: float
    width: float
    low: float | None
    high: float | None
    text: str
    interval: str


class Row(NamedTuple):
    """One line of a panel: one bar per model."""

    name: str
    bars: tuple[Bar, ...]


class Mark(NamedTuple):
    """A value to compare bars with, in [0, 1], such as the accuracy of guessing. text: its name, without the value."""

    value: float
    text: str


class Line(NamedTuple):
    """The place of a mark: x in per cent of the width; text: its name, with the value."""

    x: float
    text: str


class Tick(NamedTuple):
    """A round value on the axis: x in per cent of the width; main: whether narrow axes show it too."""

    x: float
    text: str
    main: bool


class Panel(NamedTuple):
    """Rows on one axis. zero: the place where bars begin, in per cent of the width; note: about hidden rows, or ""."""

    title: str
    note: str
    rows: tuple[Row, ...]
    ticks: tuple[Tick, ...]
    zero: float
    lines: tuple[Line, ...]


Named = tuple[str, Sequence[Estimate]]
"""Name of a row and its figure under each model."""


def value_text(estimate: Estimate, share: bool) -> str:
    """Return a figure as text: a share in per cent, a difference of shares in points."""
    return percent(estimate.value) if share else points(estimate.value)


def interval_text(estimate: Estimate) -> str:
    """Return the 95 % interval of a figure as text, e.g. "40.0 to 60.0"; a reason if there is none."""
    if estimate.value is None:
        return "no pictures to compute it of"
    if estimate.low is None or estimate.high is None:
        return "no interval"
    return f"{tenths(estimate.low)} to {tenths(estimate.high)}"


def panel(title: str, rows: Sequence[Named], share: bool, marks: Sequence[Mark] = (), note: str = "") -> Panel | None:
    """Lay out figures on one axis: from 0 to 1 for shares, else round values, 0 among them, that include all intervals.

    rows: at least one estimate each, all of the same number; rows without any value are left out; None if no row is
    left. Source: ours.
    """
    rows = [row for row in rows if any(each.value is not None for each in row[1])]
    if not rows:
        return None
    levels = SHARES if share else levels_of([each for _, estimates in rows for each in estimates])
    low, span = levels[0], levels[-1] - levels[0]

    def x(value: float) -> float:
        return round(100 * min(1.0, max(0.0, (value - low) / span)), 2)

    zero = x(0.0)
    return Panel(
        title=title,
        note=note,
        rows=tuple(
            Row(name, tuple(bar(m, each, zero, share, x) for m, each in enumerate(estimates)))
            for name, estimates in rows
        ),
        ticks=tuple(
            Tick(x(level), f"{100 * level:g}", (i - levels.index(0.0)) % 2 == 0) for i, level in enumerate(levels)
        ),
        zero=zero,
        lines=tuple(Line(x(mark.value), f"{mark.text}: {percent(mark.value)}") for mark in marks),
    )


def bar(model: int, estimate: Estimate, zero: float, share: bool, x: Callable[[float], float]) -> Bar:
    """Lay out one figure. zero: the place where bars begin; x: value -> per cent of the width."""
    end = zero if estimate.value is None else x(estimate.value)
    has_value = estimate.value is not None
    return Bar(
        model=model,
        start=min(zero, end),
        width=round(abs(end - zero), 2),
        low=x(estimate.low) if has_value and estimate.low is not None else None,
        high=x(estimate.high) if has_value and estimate.high is not None else None,
        text=value_text(estimate, share),
        interval=interval_text(estimate),
    )


def levels_of(estimates: Sequence[Estimate]) -> list[float]:
    """Return round values for an axis of differences, 0 among them, that include all figures and their intervals."""
    values = [v for each in estimates for v in (each.value, each.low, each.high) if v is not None]
    return [level / 100 for level in ticks(100 * min(values), 100 * max(values))]


def clearest(rows: Sequence[Named], what: str) -> tuple[list[Named], str]:
    """Return at most MOST_ROWS rows and a note on the others. If there are more, rows with the highest low ends of
    their intervals under any model are kept, because rows with few pictures have large figures by chance.

    what: the name of rows, in the plural, for the note. Rows without a figure under any model are left out. Source:
    ours.
    """
    known = [row for row in rows if any(each.value is not None for each in row[1])]
    notes = []
    if len(known) > MOST_ROWS:
        notes.append(
            f"Shown: {MOST_ROWS} of {len(known)} {what}, those whose interval has the highest low end; of so many, some"
            " stand out by chance."
        )
        known.sort(key=lambda row: -max(LOWEST if each.low is None else each.low for each in row[1]))
    if len(known) < len(rows):
        notes.append(f"Without pictures: {len(rows) - len(known)} of {len(rows)} {what}.")
    return known[:MOST_ROWS], " ".join(notes)
