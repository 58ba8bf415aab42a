"""A table as JSON, Markdown, CSV and one HTML page. The same runs give the same bytes: no times of day, no paths."""

from __future__ import annotations

import csv
import io
import json
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from clp_aug.common.files import disk_errors, written_beside
from clp_aug.common.text import code_in_markdown, in_markdown
from clp_train.bench.remarks import remarks
from clp_train.bench.scores import Cell, Cost, Result, cells, costs, preset_of
from clp_train.bench.spec import Table, names
from clp_train.bench.versions import code_version

TITLES = {
    "selected": "Epoch selected on validation pictures (the last one where there are none)",
    "last": "Last epoch",
    "best_on_test": "Best epoch by average accuracy on test: what an oracle would pick, not a result",
}
ONE_FOR_BOTH = "Last epoch (also the one that is selected, where there are validation pictures)"
NOTHING = "-"
TIMES = ("s an epoch", "cost")
BRACKETS = str.maketrans({"[": "\\[", "]": "\\]"})  # end of the name of a picture in Markdown
TABLE, FIGURE = "table.json", "figure.svg"
Part = Mapping[str, Mapping[str, Cell]]
"""The cells of one moment by row and column."""
Costs = Mapping[str, Mapping[str, Cost]]
"""The costs of rows, by preset and row."""


def write_table(table: Table, scale: str, results: Sequence[Result], folder: Path) -> list[Path]:
    """Write table.json, .md, .csv and .html into a folder and return their paths.

    Raises InputError when the disk refuses.
    """
    parts = {moment: cells(table, results, moment) for moment in TITLES}
    parts = {
        moment: part for moment, part in parts.items() if any(c.values for row in part.values() for c in row.values())
    }
    cost = costs(table, results)
    texts = {
        TABLE: as_json(table, scale, results),
        "table.md": as_markdown(table, scale, results, parts, cost),
        "table.csv": as_csv(table, results, parts, cost),
        "table.html": as_html(table, scale, results, parts, cost),
    }
    with disk_errors(folder, "make"):
        folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        with written_beside(folder / name) as temporary:
            temporary.write_bytes(text.encode("utf-8", "replace"))
    return [folder / name for name in texts]


def as_json(table: Table, scale: str, results: Sequence[Result]) -> str:
    """Return the data of which all other formats are made."""
    order = sorted(results, key=lambda r: (r["column"], r["row"], r["protocol"], r["seed"]))
    whole = {"table": table.name, "scale": scale, "code": code_version(), "runs": order}
    return json.dumps(whole, indent=1) + "\n"


def cell_text(cell: Cell) -> str:
    """Return a cell of the common protocol as text: mean and spread in percent, a mark if Holm's p is below 0.05.

    The mark is a star if it is better than the best other method, a dagger if it is worse.
    """
    if cell.mean is None:
        return NOTHING
    spread = "" if cell.sd is None else f" ± {cell.sd:.1f}"
    mark = "*" if cell.better else "†"
    return f"{cell.mean:.1f}{spread}" + (mark if cell.p is not None and cell.p < 0.05 else "")


def mean_of(values: Mapping[int, float]) -> str:
    """Return a mean in percent as text."""
    return f"{sum(values.values()) / len(values):.1f}" if values else NOTHING


def titles_of(parts: Mapping[str, object]) -> dict[str, str]:
    """Return the moments of a page and their titles; one for both if "selected" is the last epoch in all runs."""
    if parts.get("selected") != parts.get("last"):
        return {moment: TITLES[moment] for moment in parts}
    return {moment: ONE_FOR_BOTH if moment == "last" else TITLES[moment] for moment in parts if moment != "selected"}


def layout_of(table: Table, parts: Mapping[str, Part]) -> dict[str, list[str]]:
    """Return the fields of each column with our figures: "paper" if quoted, "ours", "own" if any, "rank"."""
    layout = {}
    for name in table.columns:
        of_column = [part[row][name] for part in parts.values() for row in table.rows]
        if any(cell.values or cell.own for cell in of_column):
            fields = {
                "paper": any(cell.quoted is not None for cell in of_column),
                "ours": True,
                "own": any(cell.own for cell in of_column),
                "rank": True,
            }
            layout[name] = [name_of_field for name_of_field, is_there in fields.items() if is_there]
    return layout


@dataclass(frozen=True)
class Shown:
    """One field of a line as text. kind: of `layout_of`, or "method", "time", "block"; best: rank 1."""

    text: str
    kind: str
    best: bool = False


def lines_of(
    table: Table,
    part: Part,
    layout: Mapping[str, list[str]],
    cost: Costs,
) -> list[list[Shown]]:
    """Return the lines of one moment's table: method, fields of `layout_of` per column, costs by preset."""
    lines = []
    for name, row in table.rows.items():
        line = [Shown(row.title, "method")]
        for column, fields in layout.items():
            cell = part[name][column]
            texts = {
                "paper": NOTHING if cell.quoted is None else f"{cell.quoted:.1f}",
                "ours": cell_text(cell),
                "own": mean_of(cell.own),
                "rank": NOTHING if cell.rank is None else str(cell.rank),
            }
            line += [Shown(texts[field], field, field == "ours" and cell.rank == 1) for field in fields]
        for row_cost in (rows.get(name) for rows in cost.values()):
            line.append(Shown(NOTHING if row_cost is None else seconds_text(row_cost.seconds), "time"))
            line.append(
                Shown(NOTHING if row_cost is None or row_cost.ratio is None else f"{row_cost.ratio:.1f}", "time")
            )
        lines.append(line)
    return with_headings(lines, [row.block for row in table.rows.values()])


def with_headings(lines: Sequence[list[Shown]], blocks: Sequence[str]) -> list[list[Shown]]:
    """Return lines with a heading before each line that begins a block. blocks: of each line, "" for none."""
    headed, before = list[list[Shown]](), ""
    for line, block in zip(lines, blocks, strict=True):
        if block and block != before:
            headed.append([Shown(block if i == 0 else "", "block") for i in range(len(line))])
        headed.append(line)
        before = block
    return headed


def seconds_text(seconds: float) -> str:
    """Return a time with two digits, or with all digits before the point."""
    return f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.2g}"


def heads_of(table: Table, layout: Mapping[str, list[str]], presets: Collection[str]) -> list[str]:
    """Return the heads of the fields of `lines_of`; heads of times name the preset if there are several."""
    heads = [f"{table.columns[name].title}: {field}" for name, parts in layout.items() for field in parts]
    return ["method", *heads, *time_heads(presets)]


def time_heads(presets: Collection[str]) -> list[str]:
    """Return the heads of seconds and cost, of each preset."""
    return [(f"{name}: " if len(presets) > 1 else "") + head for name in presets for head in TIMES]


def command_of(table: Table, scale: str) -> str:
    """Return the command that makes a table, by its name or from the user's file."""
    return f"clp-bench {table.name if table.name in names() else shlex.quote(f'{table.name}.toml')} --scale {scale}"


def as_markdown(table: Table, scale: str, results: Sequence[Result], parts: Mapping[str, Part], cost: Costs) -> str:
    """Return the table as Markdown."""
    title_text = in_markdown(table.title)
    lines = [f"# {title_text}", "", f"Made by {code_in_markdown(command_of(table, scale))}.", ""]
    lines += [f"![{title_text.translate(BRACKETS)}]({FIGURE})", ""] if table.draw else []
    layout = layout_of(table, parts)
    heads = heads_of(table, layout, cost)
    for moment, title in titles_of(parts).items():
        lines += [f"## {title}", "", f"| {' | '.join(map(in_markdown, heads))} |", "|---" * len(heads) + "|"]
        shown_lines = lines_of(table, parts[moment], layout, cost)
        lines += [f"| {' | '.join(map(markdown_of, line))} |" for line in shown_lines] + [""]
    return (
        "\n".join([*lines, *(f"- {in_markdown(remark)}" for remark in remarks(table, scale, results, layout))]) + "\n"
    )


def markdown_of(field: Shown) -> str:
    """Return one field as Markdown: a heading in bold."""
    text = in_markdown(field.text)
    return f"**{text}**" if field.kind == "block" and text else text


def as_csv(table: Table, results: Sequence[Result], parts: Mapping[str, Part], cost: Costs) -> str:
    """Return one line per cell."""
    presets = {result["column"]: preset_of(result) for result in results}
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["when", "row", "column", "measure", "quoted", "mean", "sd", "seeds", "own", "rank", "p", "seconds", "cost"]
    )
    for moment, part in parts.items():
        for row, columns in part.items():
            for column, cell in columns.items():
                preset = presets.get(table.columns[column].shared or column)
                row_cost = None if preset is None else cost.get(preset, {}).get(row)
                writer.writerow([
                    moment, row, column, table.columns[column].measure, number(cell.quoted), number(cell.mean),
                    number(cell.sd), len(cell.values), mean_of(cell.own).replace(NOTHING, ""),
                    number(cell.rank), number(cell.p), number(None if row_cost is None else row_cost.seconds),
                    number(None if row_cost is None else row_cost.ratio),
                ])  # fmt: skip
    return out.getvalue()


def number(value: float | None) -> str:
    """Return a number as text, "" for None."""
    return "" if value is None else f"{value:.6g}"


def as_html(table: Table, scale: str, results: Sequence[Result], parts: Mapping[str, Part], cost: Costs) -> str:
    """Return one page that needs no other file than the drawing of a figure."""
    page = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    layout = layout_of(table, parts)
    tables = [
        {"title": title, "lines": lines_of(table, parts[moment], layout, cost)}
        for moment, title in titles_of(parts).items()
    ]
    return page.get_template("table.html").render(
        title=table.title, command=command_of(table, scale), tables=tables,
        figure=FIGURE if table.draw else None,
        heads=[(table.columns[name].title, fields) for name, fields in layout.items()]
        + [(name if len(cost) > 1 else "", TIMES) for name in cost],
        remarks=remarks(table, scale, results, layout),
    )  # fmt: skip
