"""READ: what the columns of a table of pictures mean, by their names, and values with the same meaning."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clp_aug.contract.errors import InputError
from clp_aug.datasets.box_forms.columns import FILE, BoxColumns, box_columns
from clp_aug.datasets.free_tables import FreeTable
from clp_aug.datasets.names import check_names, shortened, shown

LABEL = ("label", "y", "class", "class_name", "category")
SPLIT, GROUP, MASK = "split", "group", "mask"
PASSED_OVER = ("id", "img_id", "index", "unnamed: 0", "width", "height")
"""Columns that are ignored: numbers of rows (ids are positions here), and sizes of pictures."""
WHOLE = re.compile(r"(-?\d{1,15})(\.0*)?")


@dataclass(frozen=True)
class Row:
    """One line of a table. values: column -> text; folder: the folder below the root that its paths start from, "" for
    the root; split: of its table, "" if unknown.
    """

    path: Path
    line: int
    values: Mapping[str, str]
    folder: str = ""
    split: str = ""

    @property
    def where(self) -> str:
        """File and line, for messages."""
        return f"{self.path} line {self.line}"


@dataclass(frozen=True)
class Columns:
    """Columns by meaning, spelt as in the header, "" for missing ones.

    box: the four columns of a box, in lower case, None without; attributes: all columns without another meaning;
    passed_over: ignored columns, those of PASSED_OVER.
    """

    file: str
    label: str
    split: str
    group: str
    mask: str
    box: BoxColumns | None
    attributes: tuple[str, ...]
    passed_over: tuple[str, ...]


def columns_of(table: FreeTable) -> Columns:
    """Return what the columns of a table mean; upper and lower case are equal.

    Raises InputError for a header without a file column, and for boxes in two spellings.
    """
    spelt: dict[str, str] = {}  # in lower case -> as in the header
    for name in table.columns:
        if name.lower() in spelt:
            twice = f"{spelt[name.lower()]} and {name}"
            raise InputError(f"{table.path}: columns {shortened(twice)} differ only in upper and lower case; keep one")
        spelt[name.lower()] = name

    def first(*names: str) -> str:
        return next((spelt[name] for name in names if name in spelt), "")

    file, label = first(*FILE), first(*LABEL)
    if not file:
        header = shortened(", ".join(table.columns)) or "(empty)"
        raise InputError(
            f"{table.path}: no column file in the header {header}; expected a first line with the names of the columns,"
            " for example file,label"
        )
    box = box_columns(list(spelt), str(table.path))
    of_box = box.names if box else ()
    passed_over = tuple(spelt[name] for name in PASSED_OVER if name in spelt and name not in of_box)
    meant = {file, label, first(SPLIT), first(GROUP), first(MASK), *passed_over}
    meant |= {spelt[name] for name in of_box}
    attributes = tuple(name for name in table.columns if name not in meant)
    return Columns(file, label, first(SPLIT), first(GROUP), first(MASK), box, attributes, passed_over)


def one_spelling(values: Sequence[str]) -> list[str]:
    """Return values as they are; if all are whole numbers, without the fractions that programs add: 1.0 becomes 1."""
    numbers = [WHOLE.fullmatch(value) for value in values]
    return [str(int(number[1])) for number in numbers if number] if all(numbers) else list(values)


def in_order(values: Iterable[str]) -> list[str]:
    """Return the different values, sorted: by size if all are whole numbers, else as text."""
    different = set(values)
    return sorted(different, key=int) if all(map(WHOLE.fullmatch, different)) else sorted(different)


def column(rows: Sequence[Row], name: str, what: str, path: Path) -> tuple[list[str], list[str]]:
    """Return the value of each row in a column, and the different ones in their order.

    what: the meaning of the column, for messages; path: of the table. Raises InputError for an empty value and for a
    value that no shard can hold.
    """
    values = one_spelling([row.values[name] for row in rows])
    for row, value in zip(rows, values, strict=True):
        if not value:
            raise InputError(f"{row.where}: {name} is {shown(value)}; expected a {what} for every picture")
    different = in_order(values)
    check_names(different, what, path)
    return values, different


def numbered(values: Sequence[str], different: Sequence[str]) -> list[int]:
    """Return the position of each value among the different ones."""
    position = {value: k for k, value in enumerate(different)}
    return [position[value] for value in values]
