"""READ: one box per picture, from all boxes of a file: which picture each belongs to, which count, and remarks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clp_aug.contract.errors import InputError
from clp_aug.datasets.annotation_words import LARGEST, REFUSE, RELATIVE, UNION
from clp_aug.datasets.box_forms.found import Corners, Found
from clp_aug.datasets.box_forms.pictures import Pictures
from clp_aug.datasets.names import shown, some

PASS, COUNT = "pass", "count"
WORDS = {UNION: "the box around them all counts", LARGEST: "the largest counts"}
BORDER = 1.0  # pixels that a box may reach over the border of its picture


@dataclass
class Chosen:
    """The chosen boxes. boxes: row -> x0, y0, x1, y1; places: row -> its place in the file; sizes: row -> (width,
    height) of the picture, as the file says; remarks: what a user should know, a line each.
    """

    boxes: dict[int, Corners] = field(default_factory=dict)
    places: dict[int, str] = field(default_factory=dict)
    sizes: dict[int, tuple[int, int]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def choose(
    found: Iterable[Found],
    pictures: Pictures,
    path: Path,
    several: str = REFUSE,
    units: str | None = None,
    kinds: Sequence[str] = (),
    strangers: str = "",
) -> Chosen:
    """Return at most one box per picture.

    path: of the file, for messages; several: union, largest or refuse, for a picture with more than one; units: pixels
    or relative, None for pixels by default; kinds: the class name of each row; if some boxes of a picture are of its
    class, only these count; strangers: what to do with boxes of unknown pictures: "pass" ignores them, "count" counts
    them in a remark, "" refuses them. A box without area says that the picture has none. Raises InputError, with the
    place, for an invalid box, and if no box is left.
    """
    of_row: dict[int, list[Found]] = {}
    unknown: dict[str, Found] = {}  # name -> its first box
    for each in found:
        row = pictures.row_of(each, f"{path} {each.place}")
        if row is not None:
            check_corners(each, path, units == RELATIVE)
            of_row.setdefault(row, []).append(each)
        elif strangers:
            unknown.setdefault(each.picture, each)
        else:
            raise not_there(each, pictures, path)
    if strangers == PASS and not of_row:
        return Chosen()
    if not of_row and unknown:
        raise not_there(next(iter(unknown.values())), pictures, path, len(unknown))
    if not of_row:
        raise InputError(f"{path}: no box in it; expected one per picture")
    if units is None:
        check_units([each for boxes in of_row.values() for each in boxes], path)
    chosen = settle(of_row, pictures.names, path, several, kinds)
    if unknown and strangers != PASS:
        chosen.remarks.append(f"boxes {path}: names of unknown pictures: {len(unknown):,} ({some(unknown)})")
    return chosen


def settle(
    of_row: dict[int, list[Found]], names: Sequence[str], path: Path, several: str, kinds: Sequence[str]
) -> Chosen:
    """Return one box for each row, with remarks on rows with several boxes, or with boxes of other classes.

    Raises InputError for several boxes if they are refused, and if all are empty.
    """
    chosen, many, foreign = Chosen(), [], []
    for row, boxes in of_row.items():
        own = [each for each in boxes if kinds and same_kind(each.kind, kinds[row])] or boxes
        if len(own) < len(boxes):
            foreign.append(names[row])
        if len(own) > 1 and several == REFUSE:
            raise InputError(
                f"{path} {own[1].place}: {names[row]} has a box in {own[0].place} already; keep one, or choose with"
                " --boxes-several union or largest"
            )
        real = [each for each in own if area(each.box)]
        if len(real) > 1:
            many.append(names[row])
        if real:
            largest = max(real, key=lambda each: area(each.box))
            chosen.boxes[row] = union([each.box for each in real]) if several == UNION else largest.box
            chosen.places[row] = largest.place
            if largest.size is not None:
                chosen.sizes[row] = largest.size
    if not chosen.boxes:
        raise InputError(f"{path}: all {len(of_row)} boxes are empty; expected x0 < x1 and y0 < y1")
    if many:
        chosen.remarks.append(f"boxes {path}: pictures with several, {WORDS[several]}: {len(many):,} ({some(many)})")
    if foreign:
        said = f"pictures with boxes of other classes, which are ignored: {len(foreign):,} ({some(foreign)})"
        chosen.remarks.append(f"boxes {path}: {said}")
    return chosen


def not_there(found: Found, pictures: Pictures, path: Path, of: int = 1) -> InputError:
    """Return the error for a box of a picture that the data set does not have. of: number of names, if none fits."""
    more = f"; none of {of:,} names fits" if of > 1 else ""
    return InputError(
        f"{path} {found.place}: no picture {shown(found.picture)} in the data set; expected a path such as"
        f" {pictures.names[0]}{more}"
    )


def same_kind(kind: str, name: str) -> bool:
    """Return whether a box is of the class of its picture, by their names; upper and lower case are equal."""
    return kind.strip().casefold() == name.strip().casefold()


def check_corners(found: Found, path: Path, relative: bool) -> None:
    """Raise InputError for corners in the wrong order, or outside any picture."""
    x0, y0, x1, y1 = found.box
    border = 0.0 if relative else BORDER  # the size of a pixel in such units is not known yet
    right = x0 <= x1 and y0 <= y1
    if relative and right and (min(found.box) < -1 or max(found.box) > 2):
        raise InputError(f"{path} {found.place}: box {found.box} of {found.picture}; expected fractions from 0 to 1, or"
                         " name the units: --boxes-units pixels")  # fmt: skip
    if not right or (not relative and not (x0 >= -border and y0 >= -border)):
        raise InputError(
            f"{path} {found.place}: box {found.box} of {found.picture}; expected 0 <= x0 < x1 and 0 <= y0 < y1"
        )


def check_units(found: Sequence[Found], path: Path) -> None:
    """Raise InputError if all values are from 0 to 1, like fractions: in pixels such boxes are almost empty."""
    real = [each for each in found if area(each.box)]
    if real and all(-0.01 <= value <= 1.01 for each in real for value in each.box):
        raise InputError(
            f"{path} {real[0].place}: box {real[0].box}, and all values are from 0 to 1; expected pixels: name the"
            " units, --boxes-units relative (fractions of the picture's sides) or pixels"
        )


def area(box: Corners) -> float:
    """Return the area of a box."""
    return (box[2] - box[0]) * (box[3] - box[1])


def union(boxes: Sequence[Corners]) -> Corners:
    """Return the smallest box around some boxes."""
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return min(x0), min(y0), max(x1), max(y1)
