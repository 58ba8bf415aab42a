"""READ: tables in CSV files, as spreadsheets in any country write them."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clp_aug.contract.errors import InputError
from clp_aug.datasets.names import shortened

PLAIN: dict[str, Any] = {"delimiter": ","}
UTF16 = (b"\xff\xfe", b"\xfe\xff")  # first bytes, of either order
LOOSE: tuple[dict[str, Any], ...] = tuple({"delimiter": sign, "skipinitialspace": True} for sign in ",;\t")
"""How to read a table without a plain header: blanks around values, semicolons, tabs."""


@dataclass(frozen=True)
class Table:
    """A table with columns under any names. header: in lower case, without blanks around; rows: (line number, {column:
    text}).
    """

    header: list[str]
    rows: list[tuple[int, dict[str, str]]]


def open_table(path: Path, knows: Callable[[list[str]], bool], expected: str) -> Table:
    """Read a CSV file with any spelling of the header, like `read_table` but without upper and lower case.

    knows: whether a header in lower case is understood, which decides the separator; expected: in words, for messages.
    A header that is not understood is split by the separator with most names; the caller refuses it. Raises InputError
    for a missing, empty or undecodable file and a row of the wrong length.
    """
    text = text_of(path, expected)
    try:
        headers = [[name.strip().lower() for name in header_of(text, form)] for form in (PLAIN, *LOOSE)]
        most = max(headers, key=len)
        header = next((header for header in headers if knows(header)), most)
        form = (PLAIN, *LOOSE)[headers.index(header)]
        if form is PLAIN and header_of(text, PLAIN) != stripped(header_of(text, PLAIN)):
            form = LOOSE[0]
        rows = rows_of(text, form) if knows(header) else []
    except csv.Error as error:
        raise not_a_table(path, error) from None
    if knows(header):
        check_rows(path, header, rows)
    return Table(header, [(line, dict(zip(header, row, strict=True))) for line, row in rows])


def read_table(path: Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Read a CSV file with a header: [(line number, {column: text})]; other columns are allowed.

    The separator is comma, semicolon or tab. Blanks around values are kept if the header has none; lines with only
    empty values are ignored. Raises InputError for a missing, empty or undecodable file, a column that is missing or
    occurs twice, and a row of the wrong length.
    """
    text = text_of(path, f"columns {', '.join(columns)}")
    try:
        form = next((form for form in (PLAIN, *LOOSE) if set(columns) <= set(header_of(text, form))), PLAIN)
        header, rows = header_of(text, form), rows_of(text, form)
    except csv.Error as error:
        raise not_a_table(path, error) from None
    check_header(path, header, columns)
    check_rows(path, header, rows)
    return [(line, dict(zip(header, row, strict=True))) for line, row in rows]


def text_of(path: Path, expected: str) -> str:
    """Return a text file's content: UTF-8, or UTF-16 if its first bytes say so.

    expected: in words. Raises InputError for a file that cannot be read or decoded.
    """
    try:
        data = Path(path).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"cannot read {path} ({reason}); expected {expected}") from None
    try:
        return data.decode("utf-16" if data.startswith(UTF16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise not_a_table(path, error) from None


def not_a_table(path: Path, error: Exception) -> InputError:
    """Return the error for a file that is no CSV file."""
    return InputError(f"{path}: not a CSV file in UTF-8 ({error}); save it again")


def rows_of(text: str, form: dict[str, Any]) -> list[tuple[int, list[str]]]:
    """Return (line number, values) of a table's rows below the header; lines with only empty values are left out."""
    reader = csv.reader(io.StringIO(text, newline=""), **form)
    next(reader, None)
    return [(reader.line_num, row if form is PLAIN else stripped(row)) for row in reader if any(stripped(row))]


def check_rows(path: Path, header: Sequence[str], rows: Sequence[tuple[int, list[str]]]) -> None:
    """Raise InputError for a table without rows and for a row that is not as long as the header."""
    if not rows:
        raise InputError(f"{path}: the table is empty; expected one line per picture below the header")
    for line, row in rows:
        if len(row) != len(header):
            raise InputError(f"{path} line {line}: not the {len(header)} columns of the header; correct the line")


def header_of(text: str, form: dict[str, Any]) -> list[str]:
    """Return the names of a table's columns; empty for an empty table."""
    header = next(csv.reader(io.StringIO(text, newline=""), **form), [])
    return header if form is PLAIN else stripped(header)


def stripped(row: list[str]) -> list[str]:
    """Return values without the blanks around them."""
    return [value.strip() for value in row]


def check_header(path: Path, header: Sequence[str], columns: Sequence[str]) -> None:
    """Raise InputError for a header that lacks a column, or has it twice."""
    missing = [column for column in columns if column not in header]
    if missing:
        spelt = [name for name in header if name.strip().lower() in missing]
        remedy = f"write {shortened(', '.join(spelt))} in lower case" if spelt else "add it"
        columns_there = shortened(", ".join(header)) or "(empty)"
        raise InputError(f"{path}: no column {', '.join(missing)} in the header {columns_there}; {remedy}")
    for column in columns:
        if list(header).count(column) > 1:
            raise InputError(f"{path}: column {column} is in the header twice; keep one")
