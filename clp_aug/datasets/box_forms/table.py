"""READ: boxes in a table, one per line: corners, or a corner and sizes, or a centre and sizes, under many names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from clp_aug.contract.errors import InputError
from clp_aug.datasets.box_forms.columns import (
    EXPECTED,
    FILE,
    FORM_NAMES,
    KIND,
    BoxColumns,
    all_columns,
    box_columns,
    first_of,
    nearest,
)
from clp_aug.datasets.box_forms.found import Found
from clp_aug.datasets.names import shortened
from clp_aug.datasets.tables import Table, check_header, open_table


def read(path: Path, form: str) -> Iterator[Found]:
    """Yield the boxes of a table; form: xyxy, xywh or cxcywh, or another text if the header decides.

    Raises InputError, with file and line, for a table without a header or without the columns, and for a value that is
    no number.
    """
    only = form if form in FORM_NAMES else None
    table = open_table(path, partial(is_of_boxes, form=only), f"columns {EXPECTED}")
    columns, file, kind = columns_of(table, path, only), first_of(table.header, FILE), first_of(table.header, KIND)
    for line, entry in table.rows:
        where = f"{path} line {line}"
        yield Found(
            entry[file], columns.box(entry, where), f"line {line}", entry[kind] if kind else "", columns.size(entry)
        )


def is_of_boxes(header: Sequence[str], form: str | None) -> bool:
    """Return whether a header in lower case names a picture and a box."""
    return bool(first_of(header, FILE) and all_columns(header, form))


def columns_of(table: Table, path: Path, form: str | None) -> BoxColumns:
    """Return the columns of the box. Raises InputError for a header without them, or with one of them twice."""
    columns = box_columns(table.header, str(path), form)
    file = first_of(table.header, FILE)
    if columns is None or not file:
        if any(is_number(name) for name in table.header):
            line = shortened(",".join(table.header))
            raise InputError(f"{path}: no header, the first line is {line}; expected {EXPECTED} above the boxes")
        check_header(path, table.header, (file or FILE[0], *nearest(table.header, form)))
    assert columns is not None  # check_header refuses all others
    check_header(path, table.header, (file, *columns.names))
    return columns


def is_number(text: str) -> bool:
    """Return whether a text is a number: no column has such a name."""
    try:
        float(text)
    except ValueError:
        return False
    return True
