"""READ: tables with columns of the user's choice: CSV as spreadsheets write it, and JSON lines."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path

from clp_aug.contract.errors import InputError
from clp_aug.datasets.names import shortened, some
from clp_aug.datasets.tables import not_a_table, text_of

SEPARATORS = (",", ";", "\t")
JSON_LINES = ".jsonl"
EXPECTED = "a table with the columns file and label"
TABLE_SUFFIXES = (".csv", ".tsv", JSON_LINES)


@dataclass(frozen=True)
class FreeTable:
    """A table of text. columns: names of the header, each once, in its order; rows: (line number, column -> value)."""

    path: Path
    columns: tuple[str, ...]
    rows: list[tuple[int, dict[str, str]]]


def read_free_table(path: Path) -> FreeTable:
    """Read a table by its suffix: .jsonl is JSON lines, everything else CSV; blanks around names and values are
    removed.

    CSV is UTF-8, or UTF-16 with its mark; the separator is the one of comma, semicolon and tab that splits the header
    into most names. Columns without a name are ignored; in JSON lines, columns with lists or objects, too. Raises
    InputError with the line for text that is no table, and for a table without rows.
    """
    text = text_of(path, EXPECTED)
    table = read_json_lines(path, text) if path.suffix.lower() == JSON_LINES else read_csv(path, text)
    if not table.rows:
        raise InputError(f"{path}: the table is empty; expected one line per picture below the header")
    return table


def read_csv(path: Path, text: str) -> FreeTable:
    """Return a CSV file's table; see `read_free_table`."""
    try:
        sign = separator_of(text)
        rows = numbered(text, sign)
    except csv.Error as error:
        raise not_a_table(path, error) from None
    if not rows:
        return FreeTable(path, (), [])
    (_, header), *rows = rows
    twice = [name for k, name in enumerate(header) if name and name in header[:k]]
    if twice:
        raise InputError(f"{path}: column {shortened(twice[0])} is in the header twice; keep one")
    for line, row in rows:
        if len(row) != len(header):
            form = sign.join(header)
            raise InputError(
                f"{path} line {line}: {len(row)} values, not the {len(header)} of the header {shortened(form)}; correct"
                " the line"
            )
    columns = tuple(filter(None, header))
    return FreeTable(
        path, columns, [(line, {k: v for k, v in zip(header, row, strict=True) if k}) for line, row in rows]
    )


def separator_of(text: str) -> str:
    """Return the separator that splits the header into most names; the comma among equals."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    names = {sign: len(next(csv.reader([first], delimiter=sign, skipinitialspace=True), [])) for sign in SEPARATORS}
    return max(SEPARATORS, key=lambda sign: names[sign])


def numbered(text: str, sign: str) -> list[tuple[int, list[str]]]:
    """Return the lines of a CSV text that are not empty: (line number, values without blanks around them)."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=sign, skipinitialspace=True)
    rows = ((reader.line_num, [value.strip() for value in row]) for row in reader)
    return [(line, row) for line, row in rows if any(row)]


def read_json_lines(path: Path, text: str) -> FreeTable:
    """Return the table of a file with one JSON object per line; see `read_free_table`."""
    rows: list[tuple[int, dict[str, object]]] = []
    for line, part in enumerate(text.split("\n"), 1):
        if not part.strip():
            continue
        try:
            entry = json.loads(part)
        except RecursionError:
            raise InputError(f"{path} line {line}: nested too deep; expected an object with file_name") from None
        except ValueError as error:
            raise InputError(f"{path} line {line}: not JSON ({shortened(error)}); expected one object a line") from None
        if not isinstance(entry, dict):
            raise InputError(f"{path} line {line}: a {type(entry).__name__}; expected an object with file_name")
        rows.append((line, entry))
    names = list(dict.fromkeys(name for _, entry in rows for name in entry if name.strip()))
    nested = {name for name in names for _, entry in rows if isinstance(entry.get(name), (list, dict))}
    columns = [name for name in names if name not in nested]
    if len({name.strip() for name in columns}) < len(columns):
        raise InputError(f"{path}: names that differ only by blanks ({some(columns)}); expected each column once")
    return FreeTable(
        path, tuple(name.strip() for name in columns),
        [(line, {name.strip(): as_text(entry.get(name)) for name in columns}) for line, entry in rows],
    )  # fmt: skip


def as_text(value: object) -> str:
    """Return a JSON value as text: numbers and booleans as JSON writes them, "" for null."""
    if value is None:
        return ""
    return value.strip() if isinstance(value, str) else json.dumps(value)
