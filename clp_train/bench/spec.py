"""The definition of a table: rows, columns, settings and quoted figures, read from a TOML file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clp_aug.common.plugins import is_own
from clp_aug.common.settings import read
from clp_aug.common.toml import named_files, read_named
from clp_aug.contract.errors import InputError, UsageError, pick
from clp_train.methods import METHODS

FOLDER = Path(__file__).parent / "tables"
SCALES = ("cpu", "paper")
FARTHEST = 1e300  # limit of x in a figure: matplotlib overflows beyond it
MEASURES = {
    "error": "top-1 error in percent, the lower the better",
    "accuracy": "top-1 accuracy in percent, the higher the better",
    "worst": "accuracy of the worst group in percent, the higher the better",
    "average": "share of all pictures that are right, in percent, the higher the better",
    "weighted": "average accuracy, groups weighted as in training, in percent, the higher the better",
    "precision": "macro precision in percent, the higher the better",
}


@dataclass(frozen=True)
class Scale:
    """The settings of a column at one scale: arguments of clp-augment and clp-train; cut: reductions from the paper."""

    augment: tuple[str, ...]
    train: tuple[str, ...]
    cut: str = ""


@dataclass(frozen=True)
class Column:
    """One setting: data set and protocol. measure: of MEASURES; shared: a column whose runs it uses, "" for none."""

    title: str
    measure: str = "accuracy"
    cpu: Scale | None = None
    paper: Scale | None = None
    shared: str = ""
    split: str = "test"


@dataclass(frozen=True)
class Row:
    """One method. train: further arguments; cf, f: fills of its meta set; ratio: augmented pictures per original; own:
    arguments of its own protocol, empty if that is the common one; quoted: column -> the paper's figure in percent;
    reference: whether the paper lacks this row; without: columns that the method cannot do; x: its place on the axis of
    a line figure; block: the heading above it and above following rows with the same block.
    """

    title: str
    method: str
    train: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    cf: str = "tile"
    f: str = "random"
    ratio: int = 2
    quoted: Mapping[str, float] = field(default_factory=dict)
    reference: bool = False
    without: tuple[str, ...] = ()
    x: float | None = None
    block: str = ""


@dataclass(frozen=True)
class Table:
    """One table or figure of the paper.

    notes: where its quoted figures come from; draw: of `figures.DRAWINGS`, "" for none; axis: the name of x.
    """

    name: str
    title: str
    columns: Mapping[str, Column]
    rows: Mapping[str, Row]
    notes: tuple[str, ...] = ()
    draw: str = ""
    axis: str = ""

    def at(self, scale: str) -> list[str]:
        """Return the names of the columns that have settings of a scale, or share the runs of one that has.

        Raises UsageError for an unknown scale.
        """
        pick(dict.fromkeys(SCALES), scale, "scale")
        return [name for name, column in self.columns.items() if getattr(self.columns[column.shared or name], scale)]


def names() -> tuple[str, ...]:
    """Return the names of all tables and figures, in the order of the paper."""
    return tuple(sorted(named_files(FOLDER), key=lambda name: (name[:3] == "fig", name)))


def read_table(name: str) -> Table:
    """Return a table by its name, or from a path that ends in .toml.

    Raises UsageError for an unknown name, InputError, with the place, for a file that is not such a table.
    """
    path, content = read_named(name, FOLDER, "table")
    try:
        return table_of(path.stem, content)
    except UsageError as error:
        raise InputError(f"table {path}: {error}") from None


def table_of(name: str, content: dict[str, Any]) -> Table:
    """Return a table from the content of TOML. Raises UsageError for wrong values."""
    column_tables, row_tables = (table(content.pop(key, {}), key) for key in ("columns", "rows"))
    columns = {key: column_of(key, table(value, f"columns.{key}")) for key, value in column_tables.items()}
    rows = {key: row_of(key, table(value, f"rows.{key}"), columns) for key, value in row_tables.items()}
    if not columns or not rows:
        raise UsageError("no columns or no rows: expected tables [columns.NAME] and [rows.NAME]")
    for key, column in columns.items():
        if column.shared:
            other = pick(columns, column.shared, f"shared column of {key}")
            if other.shared:
                raise UsageError(f"column {key} shares the runs of {column.shared}, which has no runs of its own")
        elif column.cpu is None and column.paper is None:
            raise UsageError(f"column {key}: expected [columns.{key}.cpu] or [columns.{key}.paper], or shared")
    return Table(name, columns=columns, rows=rows, **read(Table, content, name, ("name", "columns", "rows")))


def table(value: object, name: str) -> dict[str, Any]:
    """Return a value that must be a table of TOML. Raises UsageError for any other value."""
    if not isinstance(value, dict):
        raise UsageError(f"{name} = {value!r}; expected a table, [{name}]")
    return value


def column_of(name: str, content: dict[str, Any]) -> Column:
    """Return a column. Raises UsageError for wrong values."""
    parts = {key: table(content.pop(key), f"columns.{name}.{key}") for key in SCALES if key in content}
    scales = {key: Scale(**read(Scale, part, f"{name}.{key}")) for key, part in parts.items()}
    column = Column(**(read(Column, content, name, SCALES) | scales))
    pick(MEASURES, column.measure, f"measure of column {name}")
    return column


def row_of(name: str, content: dict[str, Any], columns: Mapping[str, Column]) -> Row:
    """Return a row. Raises UsageError for wrong values."""
    quoted = table(content.pop("quoted", {}), f"rows.{name}.quoted")
    for column, value in quoted.items():
        pick(columns, column, f"quoted column of row {name}")
        if type(value) not in (int, float) or not 0 <= value <= 100:
            raise UsageError(f"row {name}: quoted {column} = {value!r}; expected a number in percent")
    row = Row(quoted=quoted, **read(Row, content, name, ("quoted",)))
    if row.x is not None and not abs(row.x) <= FARTHEST:
        raise UsageError(f"row {name}: x = {row.x}; expected a number in [-{FARTHEST:g}, {FARTHEST:g}]")
    for column in row.without:
        pick(columns, column, f"column of row {name}")
    if not is_own(row.method, "method"):
        pick(METHODS, row.method, f"method of row {name}")
    return row
