"""A table as JSON, Markdown, CSV and one HTML page. The same runs give the same bytes: no times of day, no paths."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2

from clp_aug.contract.files import written_beside
from clp_train.bench.scores import Cell, Cost, cells, costs
from clp_train.bench.spec import MEASURES, Table
from clp_train.bench.versions import code_version

TITLES = {
    "selected": "Epoch selected on validation pictures (the last one where there are none)",
    "last": "Last epoch",
    "best_on_test": "Best epoch by test: what an oracle would pick, not a result",
}
NOTHING = "-"
TABLE = "table.json"


def write_table(table: Table, scale: str, results: Sequence[dict], folder: Path) -> list[Path]:
    """Write table.json, .md, .csv and .html into a folder and return their paths."""
    parts = {when: cells(table, results, when) for when in TITLES}
    parts = {when: part for when, part in parts.items() if any(c.values for row in part.values() for c in row.values())}
    cost = costs(table, results)
    texts = {
        TABLE: as_json(table, scale, results),
        "table.md": as_markdown(table, scale, results, parts, cost),
        "table.csv": as_csv(table, parts, cost),
        "table.html": as_html(table, scale, results, parts, cost),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        with written_beside(folder / name) as temporary:
            temporary.write_text(text)
    return [folder / name for name in texts]


def as_json(table: Table, scale: str, results: Sequence[dict]) -> str:
    """Return everything that the other forms are made of."""
    order = sorted(results, key=lambda r: (r["column"], r["row"], r["protocol"], r["seed"]))
    whole = {"table": table.name, "scale": scale, "code": code_version(), "runs": order}
    return json.dumps(whole, indent=1) + "\n"


def shown(cell: Cell) -> str:
    """Return a cell of the common protocol as text: mean and spread in percent, a star where Holm's p is below 0.05."""
    if cell.mean is None:
        return NOTHING
    spread = "" if cell.sd is None else f" ± {cell.sd:.1f}"
    return f"{cell.mean:.1f}{spread}" + ("*" if cell.p is not None and cell.p < 0.05 else "")


def mean_of(values: Mapping[int, float]) -> str:
    """Return a mean in percent as text."""
    return f"{sum(values.values()) / len(values):.1f}" if values else NOTHING


def rows_of(table: Table, part: Mapping[str, Mapping[str, Cell]], cost: Mapping[str, Cost]) -> list[list[str]]:
    """Return the lines of one moment's table: method, then per column quoted, ours, own protocol, rank; then cost."""
    lines = []
    for name, row in table.rows.items():
        line = [row.title]
        for column in table.columns:
            cell = part[name][column]
            quoted = NOTHING if cell.quoted is None else f"{cell.quoted:.1f}"
            line += [quoted, shown(cell), mean_of(cell.own), NOTHING if cell.rank is None else str(cell.rank)]
        own = cost.get(name)
        line.append(NOTHING if own is None else f"{own.seconds:.2g}")
        lines.append([*line, NOTHING if own is None or own.ratio is None else f"{own.ratio:.1f}"])
    return lines


def heads_of(table: Table) -> list[str]:
    """Return the heads of the columns of `rows_of`."""
    own = [f"{column.title}: {what}" for column in table.columns.values() for what in ("paper", "ours", "own", "rank")]
    return ["method", *own, "s an epoch", "cost"]


def remarks(table: Table, scale: str, results: Sequence[dict]) -> list[str]:
    """Return what a reader must know: measures, seeds, what was cut, where the quoted figures come from, hours."""
    seeds = sorted({result["seed"] for result in results})
    hours = sum(result["seconds"] for result in results) / 3600
    lines = [f"{column.title}: {MEASURES[column.measure]}." for column in table.columns.values()]
    for name, column in table.columns.items():
        how = getattr(table.columns[column.shared or name], scale)
        if how is not None and how.cut and not column.shared:
            lines.append(f"Cut at this scale, {column.title}: {how.cut}.")
    lines.append(
        "Ours: mean and standard deviation over seeds on the common protocol; own: the method's own protocol, where it"
        " differs. Rank is among our figures. A star: Holm's p of a paired t test against the best other method is"
        " below 0.05. Time is that of the processor; cost: time an epoch over plain cross entropy's."
    )
    lines += list(table.notes)
    versions = sorted({f"PyTorch {result['versions']['torch']}" for result in results})
    seen = ", ".join(map(str, seeds)) or "none"
    lines.append(f"Seeds {seen}; {len(results)} runs, {hours:.1f} hours of training; {', '.join(versions)}.")
    return lines


def as_markdown(table: Table, scale: str, results, parts, cost) -> str:
    """Return the table as Markdown."""
    lines = [f"# {table.title}", "", f"Made by `clp-bench {table.name} --scale {scale}`.", ""]
    heads = heads_of(table)
    for when, part in parts.items():
        lines += [f"## {TITLES[when]}", "", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
        lines += [f"| {' | '.join(line)} |" for line in rows_of(table, part, cost)] + [""]
    return "\n".join([*lines, *(f"- {remark}" for remark in remarks(table, scale, results))]) + "\n"


def as_csv(table: Table, parts, cost) -> str:
    """Return one line a cell."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["when", "row", "column", "measure", "quoted", "mean", "sd", "seeds", "own", "rank", "p", "seconds", "cost"]
    )
    for when, part in parts.items():
        for row, columns in part.items():
            own = cost.get(row)
            for column, cell in columns.items():
                writer.writerow([
                    when, row, column, table.columns[column].measure, number(cell.quoted), number(cell.mean),
                    number(cell.sd), len(cell.values), mean_of(cell.own).replace(NOTHING, ""),
                    number(cell.rank), number(cell.p), number(own and own.seconds), number(own and own.ratio),
                ])  # fmt: skip
    return out.getvalue()


def number(value: float | None) -> str:
    """Return a number as text, nothing for None."""
    return "" if value is None else f"{value:.6g}"


def as_html(table: Table, scale: str, results, parts, cost) -> str:
    """Return one page that needs nothing else."""
    page = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    tables = [
        {"title": TITLES[when], "lines": rows_of(table, part, cost), "best": best_of(part)}
        for when, part in parts.items()
    ]
    return page.get_template("table.html").render(
        title=table.title, command=f"clp-bench {table.name} --scale {scale}", columns=table.columns.values(),
        tables=tables, remarks=remarks(table, scale, results),
    )  # fmt: skip


def best_of(part: Mapping[str, Mapping[str, Cell]]) -> list[list[int]]:
    """Return for each row the numbers of the columns in which it has rank 1."""
    return [[i for i, cell in enumerate(columns.values()) if cell.rank == 1] for columns in part.values()]
