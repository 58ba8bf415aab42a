"""The paper's figures from finished runs, as SVG and PNG. The same runs give the same bytes."""

from __future__ import annotations

import io
import math
import statistics
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clp_aug.common.files import written_beside
from clp_aug.common.text import printable
from clp_aug.contract.errors import pick
from clp_train.bench.jobs import COMMON
from clp_train.bench.scores import Result, cells
from clp_train.bench.spec import Table
from clp_train.bench.write import FIGURE, Part
from clp_train.evaluating.raised_losses import RIGHT_UP, WRONG_UP

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANEL = (4.6, 3.4)  # inches
TITLE, LABEL = 44, 20  # characters per line, of a panel's title and of a row's name
# matplotlib types these names as literals from 3.11 on, as texts before
SETTINGS: dict[Any, Any] = {
    "svg.hashsalt": "clp", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False,
    "text.parse_math": False,  # names are literal texts: a dollar sign starts no formula
}  # fmt: skip
COLOURS = ("#4c72b0", "#dd8452", "#55a868", "#c44e52", "#8172b3", "#937860", "#da8bc3", "#8c8c8c", "#ccb974", "#64b5cd")


def write_figure(table: Table, results: Sequence[Result], folder: Path) -> list[Path]:
    """Write figure.svg and figure.png into a folder and return their paths; empty for a table without a figure.

    There is one panel per column that was run. Raises UsageError for an unknown drawing.
    """
    if not table.draw:
        return []
    import matplotlib as mpl
    from matplotlib.figure import Figure

    draw, table = pick(DRAWINGS, table.draw, "drawing"), as_drawn(table)
    run = {result["column"] for result in results}
    names = [name for name, column in table.columns.items() if (column.shared or name) in run] or list(table.columns)
    with mpl.rc_context(SETTINGS):
        columns = min(len(names), 2)
        rows = -(-len(names) // columns)
        figure = Figure((PANEL[0] * columns, PANEL[1] * rows), layout="constrained")
        part = cells(table, results, "last")
        for i, name in enumerate(names):
            axes = figure.add_subplot(rows, columns, i + 1)
            axes.set_title(textwrap.fill(table.columns[name].title, TITLE))
            draw(axes, table, name, part, results)
        paths = []
        for ending, metadata in (("svg", {"Date": None}), ("png", {"Software": None})):
            content = io.BytesIO()
            figure.savefig(content, format=ending, dpi=150, metadata=metadata)
            paths.append((folder / FIGURE).with_suffix(f".{ending}"))
            with written_beside(paths[-1]) as temporary:
                temporary.write_bytes(content.getvalue())
    return paths


def as_drawn(table: Table) -> Table:
    """Return the table with names that can be drawn: matplotlib's legends leave out names that begin with "_"."""

    def drawn(text: str) -> str:
        return (" " if text.startswith("_") else "") + printable(text)

    columns = {name: replace(column, title=drawn(column.title)) for name, column in table.columns.items()}
    rows = {name: replace(row, title=drawn(row.title)) for name, row in table.rows.items()}
    return replace(table, columns=columns, rows=rows, axis=drawn(table.axis))


def dots(axes: Axes, table: Table, column: str, part: Part, results: Sequence[Result]) -> None:
    """Draw each row's mean with the spread over seeds, and one dot per seed, the first row at the top. Figs. 7 and 9.

    There are no bars: bars must start at zero, and the effect of a part of the method would be invisible.
    """
    entries = [
        (table.rows[row].title, columns[column], mean)
        for row, columns in part.items()
        if (mean := columns[column].mean) is not None
    ]
    for place, (_, cell, mean) in enumerate(entries):
        axes.errorbar(mean, place, xerr=cell.sd, fmt="D", color=COLOURS[0], capsize=3)
        seeds = [cell.values[seed] for seed in sorted(cell.values)]
        axes.plot(seeds, [place] * len(seeds), "o", color=COLOURS[1], alpha=0.6, zorder=3)
    axes.set_yticks(range(len(entries)), [textwrap.fill(title, LABEL) for title, _, _ in entries])
    axes.set_ylim(max(len(entries), 1) - 0.5, -0.5)
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel(table.columns[column].measure + ", %, last epoch")


def lines(axes: Axes, table: Table, column: str, part: Part, results: Sequence[Result]) -> None:
    """Draw the rows' means over their x, with the spread over seeds. Fig. 8."""
    points = sorted(
        (table.rows[row].x, cells[column].mean, cells[column].sd or 0)
        for row, cells in part.items()
        if cells[column].values and table.rows[row].x is not None
    )
    if points:
        x, means, spreads = zip(*points, strict=True)
        axes.errorbar(x, means, spreads, marker="o", capsize=3, color=COLOURS[0])
    axes.set_xlabel(table.axis)
    axes.set_ylabel(table.columns[column].measure + ", %, last epoch")


def classes(axes: Axes, table: Table, column: str, part: Part, results: Sequence[Result]) -> None:
    """Draw each row's accuracy per class, from the rarest to the most frequent in training. Fig. 4."""
    width = 0.8 / max(len(table.rows), 1)
    for i, row in enumerate(table.rows):
        accuracies = per_class(runs_of(table, results, row, column), table.columns[column].split)
        ranks = range(len(accuracies))
        axes.bar([r + i * width for r in ranks], accuracies, width, label=table.rows[row].title, color=COLOURS[i % 10])
    axes.set_xlabel("classes, last first: a long tail's rarest")
    axes.set_ylabel("accuracy, %, last epoch")
    explain(axes)


def explain(axes: Axes) -> None:
    """Add a legend if there is anything to explain."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)


def per_class(runs: Sequence[Result], split: str) -> list[float]:
    """Return the mean accuracy of each class over runs in percent, last class first, because classes are ordered from
    frequent to rare.

    NaN, which is not drawn, for a class without pictures; empty if no run was measured on the split.
    """
    metrics = [run["metrics"]["last"].get(split, {}) for run in runs]
    parts = [part["per_class"] for part in metrics if "per_class" in part]
    classes = list(zip(*parts, strict=True))[::-1] if parts else []
    return [math.nan if None in values else 100 * statistics.fmean(values) for values in classes]


def raised_losses(axes: Axes, table: Table, column: str, part: Part, results: Sequence[Result]) -> None:
    """Draw for each epoch the share of pictures with a raised loss, for right and for wrong labels. Fig. 5."""
    for i, row in enumerate(table.rows):
        for key, style, name in ((RIGHT_UP, "-", "right labels"), (WRONG_UP, "--", "wrong labels")):
            curves = [[line.get(key) for line in run["history"]] for run in runs_of(table, results, row, column)]
            curves = [curve for curve in curves if curve and None not in curve]
            if curves:
                mean = [100 * statistics.fmean(values) for values in zip(*curves, strict=True)]
                label = f"{table.rows[row].title}, {name}"
                axes.plot(range(1, len(mean) + 1), mean, style, color=COLOURS[i % 10], label=label)
    axes.set_xlabel("epoch")
    axes.set_ylabel("losses raised, %")
    explain(axes)


def attention(axes: Axes, table: Table, column: str, part: Part, results: Sequence[Result]) -> None:
    """Draw the share of Grad-CAM inside the boxes, with its spread, and the area of the boxes. Fig. 6."""
    entries = [(table.rows[row].title, runs_of(table, results, row, column)) for row in table.rows]
    entries = [
        (title, [r["attention"] for r in runs if r["attention"] and r["attention"]["inside"] is not None])
        for title, runs in entries
    ]
    entries = [(title, looks) for title, looks in entries if looks]
    inside = [[100 * look["inside"] for look in looks] for _, looks in entries]
    spreads = [statistics.stdev(values) if len(values) > 1 else 0 for values in inside]
    means = [statistics.fmean(values) for values in inside]
    axes.bar(range(len(entries)), means, yerr=spreads, color=COLOURS[: len(entries)] or None, capsize=3)
    if entries:
        area = 100 * statistics.fmean(look["area"] for _, looks in entries for look in looks)
        axes.axhline(area, color="#555", linestyle=":", label="share of the picture")
        explain(axes)
    axes.set_xticks(range(len(entries)), [title for title, _ in entries])
    axes.set_ylabel("Grad-CAM inside the boxes, %")


DRAWINGS: dict[str, Callable[[Axes, Table, str, Part, Sequence[Result]], None]] = {
    "dots": dots, "lines": lines, "classes": classes, "raised": raised_losses, "attention": attention
}  # fmt: skip


def runs_of(table: Table, results: Sequence[Result], row: str, column: str) -> list[Result]:
    """Return the runs of one cell on the common protocol, by seed."""
    source = table.columns[column].shared or column
    runs = [r for r in results if (r["row"], r["column"], r["protocol"]) == (row, source, COMMON)]
    return sorted(runs, key=lambda run: run["seed"])
