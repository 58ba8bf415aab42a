"""What a notebook shows of a run: a table of accuracies and a curve over the epochs, as one piece of HTML. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

WIDTH, HEIGHT = 360, 150
LEFT, RIGHT, TOP, BOTTOM = 44, 8, 8, 24  # margins
COLOURS = ("#2563c9", "#c2410c")
ACCURACIES = (("average on val", "val_average"), ("worst on val", "val_worst"))
LOSSES = (("training loss", "train_loss"),)
"""Series of a curve as (name, key of a history line): accuracies where there is a val split, else the loss."""
COLUMNS = (("average", "average"), ("worst", "worst"), ("weighted as in training", "weighted_average"))
Point = tuple[float, float]


def run_html(
    title: str,
    facts: Iterable[tuple[str, str]],
    metrics: Mapping[str, Mapping[str, Any]],
    history: Sequence[Mapping[str, Any]],
    selected: int | None = None,
) -> str:
    """Return the HTML of a run; all texts are escaped.

    facts: (name, text) lines; metrics: split -> the fields of `Metrics`, empty for a run that has not measured;
    history: a line an epoch, as `Trained` has it; selected: the selected epoch (from 1), None for none.
    """
    lines = "".join(f"<tr>{cell(name, 'th')}{cell(text)}</tr>" for name, text in facts)
    parts = [f"<b>{escape(title)}</b><table><tbody>{lines}</tbody></table>", accuracy_table(metrics)]
    return f"<div>{''.join(parts)}{curve(history, selected)}</div>"


def accuracy_table(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the HTML of a table with a row for each split, empty without splits."""
    if not metrics:
        return ""
    head = "".join(cell(name, "th") for name in ("split", *(name for name, _ in COLUMNS), "pictures"))
    rows = "".join(
        f"<tr>{cell(split)}{''.join(cell(percent(of_split.get(key))) for _, key in COLUMNS)}"
        f"{cell(str(sum(of_split.get('group_counts') or ())))}</tr>"
        for split, of_split in metrics.items()
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def cell(text: str, tag: str = "td") -> str:
    """Return one cell of a table."""
    return f'<{tag} style="text-align: left">{escape(text)}</{tag}>'


def percent(share: float | None) -> str:
    """Return a share in [0, 1] as text, a dash for None."""
    return "-" if share is None else f"{100 * share:.1f} %"


def curve(history: Sequence[Mapping[str, Any]], selected: int | None) -> str:
    """Return an SVG of the accuracies on val by epoch, or of the training loss without val; "" without numbers."""
    chosen = ACCURACIES if any(number(line.get("val_average")) is not None for line in history) else LOSSES
    series = [(name, points_of(history, key)) for name, key in chosen]
    series = [(name, points) for name, points in series if points]
    if not series:
        return ""
    most = 1.0 if chosen is ACCURACIES else max(value for _, points in series for _, value in points) or 1.0
    last = max(2, max(int(epoch) for _, points in series for epoch, _ in points))

    def at(point: Point) -> str:
        x = LEFT + (WIDTH - LEFT - RIGHT) * (point[0] - 1) / (last - 1)
        return f"{x:.1f},{HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * point[1] / most:.1f}"

    levels = [
        (level * most, f"{100 * level:g} %" if chosen is ACCURACIES else f"{level * most:.3g}") for level in (0, 0.5, 1)
    ]
    drawn = [line_between(at((1, y)), at((last, y)), "#8886") + text_at(at((1, y)), name, -6, 4) for y, name in levels]
    drawn += [text_at(at((epoch, 0)), f"{epoch}", 4, 16) for epoch in (1, last)]
    if selected is not None:
        drawn.append(line_between(at((selected, 0)), at((selected, most)), "#888", " stroke-dasharray='4 3'"))
    legend = []
    for colour, (name, points) in zip(COLOURS, series, strict=False):
        path = " ".join(map(at, points))
        drawn.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        legend.append(f'<span style="color: {colour}">{escape(name)}</span>')
    note = ", by epoch" + (f"; dashed: the selected epoch, {selected}" if selected is not None else "")
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img">{"".join(drawn)}</svg>'
    return f"{svg}<br><small>{', '.join(legend)}{note}</small>"


def line_between(start: str, end: str, colour: str, more: str = "") -> str:
    """Return the SVG of a straight line. start, end: "x,y"."""
    (x1, y1), (x2, y2) = start.split(","), end.split(",")
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{colour}"{more}/>'


def text_at(place: str, text: str, right: int, down: int) -> str:
    """Return the SVG of a short text that ends so many pixels right of a place, "x,y", and below it."""
    x, y = map(float, place.split(","))
    style = 'font-size="11" fill="currentColor" text-anchor="end"'
    return f'<text x="{x + right:.1f}" y="{y + down:.1f}" {style}>{escape(text)}</text>'


def points_of(history: Sequence[Mapping[str, Any]], key: str) -> list[Point]:
    """Return (epoch, value) of each line that has a finite number under a key; epochs are counted from 1."""
    values = [(float(epoch), number(line.get(key))) for epoch, line in enumerate(history, 1)]
    return [(epoch, value) for epoch, value in values if value is not None]


def number(value: object) -> float | None:
    """Return a finite number >= 0, None for anything else."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
    return float(value) if is_number else None  # type: ignore[arg-type]
