"""READ: which columns of a table hold a box, by their usual names, and the box of one row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clp_aug.contract.errors import InputError
from clp_aug.datasets.box_forms.found import Corners, number, size_of

FILE = ("file", "filename", "file_name", "path", "filepath", "image_path", "image", "image_name", "img_filename", "img",
        "picture", "name")  # fmt: skip
KIND = ("class", "label", "category", "class_name")
CORNERS, SIZES, CENTRES = "xyxy", "xywh", "cxcywh"
FORM_NAMES = (CORNERS, SIZES, CENTRES)
COLUMNS = {
    ("x0", "y0", "x1", "y1"): CORNERS,
    ("xmin", "ymin", "xmax", "ymax"): CORNERS,
    ("x_min", "y_min", "x_max", "y_max"): CORNERS,
    ("left", "top", "right", "bottom"): CORNERS,
    ("x1", "y1", "x2", "y2"): CORNERS,
    ("x", "y", "w", "h"): SIZES,
    ("x", "y", "width", "height"): SIZES,
    ("left", "top", "width", "height"): SIZES,
    ("cx", "cy", "w", "h"): CENTRES,
    ("cx", "cy", "width", "height"): CENTRES,
    ("x_center", "y_center", "width", "height"): CENTRES,
}
"""Names of the four columns, in lower case -> form."""
EXPECTED = "file,x0,y0,x1,y1 or file,x,y,w,h"


@dataclass(frozen=True)
class BoxColumns:
    """The columns of a box. names: the four columns; form: what they mean, one of xyxy, xywh and cxcywh."""

    names: tuple[str, str, str, str]
    form: str

    def box(self, entry: Mapping[str, str], where: str) -> Corners:
        """Return the box of one row, {column: text}, as x0, y0, x1, y1, half open, in the units of the table.

        where: file and line, for messages. Raises InputError for a value that is no finite number and for negative
        sizes.
        """
        a, b, c, d = (number(entry[name], name, where) for name in self.names)
        if self.form == CORNERS:
            return a, b, c, d
        if c < 0 or d < 0:
            raise InputError(f"{where}: {self.names[2]} and {self.names[3]} are {c:g} and {d:g}; expected sizes >= 0")
        if self.form == CENTRES:
            a, b = a - c / 2, b - d / 2
        return a, b, a + c, b + d

    def size(self, entry: Mapping[str, str]) -> tuple[int, int] | None:
        """Return (width, height) of the picture if further columns hold them, else None."""
        if "width" in self.names or not {"width", "height"} <= set(entry):
            return None
        return size_of(entry["width"], entry["height"])


def all_columns(header: Sequence[str], form: str | None = None) -> list[BoxColumns]:
    """Return the boxes that a header in lower case can mean; form: only those of one form."""
    there = set(header)
    return [
        BoxColumns(names, meaning)
        for names, meaning in COLUMNS.items()
        if set(names) <= there and form in (None, meaning)
    ]


def box_columns(header: Sequence[str], where: str, form: str | None = None) -> BoxColumns | None:
    """Return the columns of a box in a header in lower case, None if there are none.

    where: the file, for messages; form: one of xyxy, xywh, cxcywh if it was named. Raises InputError if a header has
    boxes in more than one form, or in two spellings.
    """
    readings = all_columns(header, form)
    if len(readings) > 1:
        ways = " and ".join(",".join(reading.names) for reading in readings)
        forms = {reading.form for reading in readings}
        remedy = "choose one with --boxes-form" if len(forms) > 1 else "keep one of them"
        raise InputError(f"{where}: the header has boxes twice, {ways}; {remedy}")
    return readings[0] if readings else None


def first_of(header: Sequence[str], names: Sequence[str]) -> str:
    """Return the first of some names that is in a header, else ""."""
    return next((name for name in names if name in header), "")


def nearest(header: Sequence[str], form: str | None = None) -> tuple[str, ...]:
    """Return the columns that fit a header best, for a message about missing ones: the first of the best."""
    candidates = [names for names, meaning in COLUMNS.items() if form in (None, meaning)]
    return max(candidates, key=lambda names: len(set(names) & set(header)))
