"""READ: tables as CSV files, as spreadsheets of any country write them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clp_aug.contract.errors import InputError
from clp_aug.datasets.names import shortened

PLAIN: dict[str, Any] = {"delimiter": ","}
LOOSE: tuple[dict[str, Any], ...] = tuple({"delimiter": sign, "skipinitialspace": True} for sign in ",;\t")
"""How a table is read whose header is not that of a plain one: blanks around values, semicolons, tabs."""


def read_table(path: Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Read a CSV file with a header: [(line number, {column: text})]; other columns may be there.

    Values may lie between commas, semicolons or tabs. Blanks around values count where the header has none; lines of
    empty values alone are passed over. Raises InputError for a missing, empty or undecodable file, a column that is
    missing or there twice, and a row of the wrong length.
    """
    try:
        data = Path(path).read_bytes()
    except (OSError, ValueError) as error:  # a ValueError is of a name that no file can have
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"cannot read {path} ({reason}); expected columns {', '.join(columns)}") from None
    try:
        text = data.decode("utf-8-sig")
        form = next((form for form in (PLAIN, *LOOSE) if set(columns) <= set(header_of(text, form))), PLAIN)
        header = header_of(text, form)
        reader = csv.reader(io.StringIO(text, newline=""), **form)
        next(reader, None)
        rows = [(reader.line_num, row if form is PLAIN else stripped(row)) for row in reader if any(stripped(row))]
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a CSV file in UTF-8 ({error}); save it again") from None
    check_header(path, header, columns)
    if not rows:
        raise InputError(f"{path}: the table is empty; expected one line a picture below the header")
    for line, row in rows:
        if len(row) != len(header):
            raise InputError(f"{path} line {line}: not the {len(header)} columns of the header; mend the line")
    return [(line, dict(zip(header, row, strict=True))) for line, row in rows]


def header_of(text: str, form: dict[str, Any]) -> list[str]:
    """Return the names of a table's columns, none of an empty one."""
    header = next(csv.reader(io.StringIO(text, newline=""), **form), [])
    return header if form is PLAIN else stripped(header)


def stripped(row: list[str]) -> list[str]:
    """Return values without the blanks around them."""
    return [value.strip() for value in row]


def check_header(path: Path, header: Sequence[str], columns: Sequence[str]) -> None:
    """Raise InputError for a header that lacks a column, or has it twice, so that nobody knows which one counts."""
    missing = [column for column in columns if column not in header]
    if missing:
        spelt = [name for name in header if name.strip().lower() in missing]
        remedy = f"write {shortened(', '.join(spelt))} in small letters" if spelt else "add it"
        columns_there = shortened(", ".join(header)) or "(empty)"
        raise InputError(f"{path}: no column {', '.join(missing)} in the header {columns_there}; {remedy}")
    for column in columns:
        if list(header).count(column) > 1:
            raise InputError(f"{path}: column {column} stands in the header twice; keep one")
