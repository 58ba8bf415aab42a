"""Remarks for readers of a table: measures, seeds, reductions, knowledge of the selection, and time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from clp_train.bench.scores import Result
from clp_train.bench.spec import MEASURES, Table


def remarks(table: Table, scale: str, results: Sequence[Result], layout: Mapping[str, list[str]]) -> list[str]:
    """Return the remarks: measures, seeds, reductions, source of the quoted figures, hours."""
    seeds = sorted({result["seed"] for result in results})
    hours = sum(result["seconds"] for result in results) / 3600
    lines = [f"{table.columns[name].title}: {MEASURES[table.columns[name].measure]}." for name in layout]
    missing = [column.title for name, column in table.columns.items() if name not in layout]
    if missing:
        lines.append(f"Not run: {', '.join(missing)}.")
    for column in (table.columns[name] for name in dict.fromkeys(table.columns[key].shared or key for key in layout)):
        settings = getattr(column, scale)
        if settings is not None and settings.cut:
            lines.append(f"Cut at this scale, {column.title}: {settings.cut}.")
    lines.append(
        "Ours: mean and standard deviation over seeds on the common protocol; own: the method's own protocol, where it"
        " differs. Rank is among our figures. A star says that the project's method is better than the best other one,"
        " a dagger that it is worse, Holm's p of a paired t test being below 0.05. Time is that of the processor; cost:"
        " time an epoch over plain cross entropy's."
    )
    lines += list(table.notes)
    lines += knew_of_rows(table, results)
    versions = sorted({f"PyTorch {result['versions']['torch']}" for result in results})
    seed_list = ", ".join(map(str, seeds)) or "none"
    fewer = rows_with_fewer_seeds(table, results)
    if fewer:
        lines.append(f"Fewer seeds than others in a column: {', '.join(fewer)}.")
    of_columns = seeds_of_columns(results)
    for name, count in of_columns.items():
        if count < max(of_columns.values()):
            lines.append(f"Fewer seeds than other columns: {table.columns[name].title} ({count}).")
    lines.append(f"Seeds {seed_list}; {len(results)} runs, {hours:.1f} hours of training; {', '.join(versions)}.")
    return lines


def knew_of_rows(table: Table, results: Sequence[Result]) -> list[str]:
    """Return one line on what the selection of epochs knew, by row if rows differ; empty for results that do not
    record it.
    """
    known: dict[str, set[str]] = {}
    for result in results:
        if "selection_knew" in result:
            known.setdefault(result["selection_knew"], set()).add(result["row"])
    if not known:
        return []
    if len(known) == 1:
        return [f"The selection of epochs knew {next(iter(known))}, in every row."]
    parts = (
        f"{knew}: {', '.join(table.rows[row].title for row in table.rows if row in known[knew])}"
        for knew in sorted(known)
    )
    return [f"What the selection of epochs knew: {'; '.join(parts)}."]


def seeds_of_columns(results: Sequence[Result]) -> dict[str, int]:
    """Return the number of seeds of each column with its own runs."""
    by_column: dict[str, set[int]] = {}
    for result in results:
        by_column.setdefault(result["column"], set()).add(result["seed"])
    return {column: len(seeds) for column, seeds in by_column.items()}


def rows_with_fewer_seeds(table: Table, results: Sequence[Result]) -> list[str]:
    """Return "title (seeds)" of each row that has runs in a column, but fewer seeds than another row."""
    by_column: dict[str, dict[str, set[int]]] = {}
    for result in results:
        by_column.setdefault(result["column"], {}).setdefault(result["row"], set()).add(result["seed"])
    fewer_seeds: dict[str, int] = {}
    for rows in by_column.values():
        most_seeds = max(map(len, rows.values()))
        for row, seeds in rows.items():
            if len(seeds) < most_seeds:
                fewer_seeds[row] = min(len(seeds), fewer_seeds.get(row, most_seeds))
    return [f"{spec.title} ({fewer_seeds[row]})" for row, spec in table.rows.items() if row in fewer_seeds]
