"""READ: masks and boxes that lie beside the pictures of a file data set, and the tables that list things."""

from __future__ import annotations

import copy
import csv
import math
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from clp_aug.contract.errors import InputError, UsageError
from clp_aug.datasets.base import Annotations, Dataset, FileDataset

AnyDataset = TypeVar("AnyDataset", bound=Dataset)
BOX_COLUMNS = ("x0", "y0", "x1", "y1")


def with_annotations(
    dataset: AnyDataset,
    masks_dir: Path | str | None = None,
    boxes_csv: Path | str | None = None,
    of_more: bool = False,
) -> AnyDataset:
    """Return the data set with masks from a folder and boxes from a table; what is given replaces what it had.

    masks_dir: PNG files, matched as `match_masks` says; boxes_csv: columns file, x0, y0, x1, y1; of_more: the table is
    of a larger set, and pictures that this one does not have are passed over. Partial coverage is fine:
    `annotations.masks` and `annotations.boxes` of the result hold what was matched, by row. Raises UsageError for a
    data set without picture files, InputError when nothing matches or the table is wrong. Source: ours.
    """
    if masks_dir is None and boxes_csv is None:
        return dataset
    if not isinstance(dataset, FileDataset):
        raise UsageError(f"data set {dataset.name} has no picture files that --masks or --boxes could name; drop them")
    masks, boxes = dataset.annotations.masks, dataset.annotations.boxes
    if masks_dir is not None:
        masks = match_masks(dataset.samples.name, Path(masks_dir))
    if boxes_csv is not None:
        boxes = read_boxes(dataset.samples.name, Path(boxes_csv), of_more)
    annotated = copy.copy(dataset)
    annotated.annotations = Annotations(masks, boxes)
    return annotated


def match_masks(names: Sequence[str], masks_dir: Path) -> dict[int, Path]:
    """Find the mask of each picture: the PNG at the same relative path, or, directly in the folder, of the same stem.

    names: relative paths of the pictures, one a row. Returns row -> file. A mask in a sub-folder is never matched by
    its stem: `dog/1.png` must not become the mask of `cat/1.jpg`. Raises InputError for a missing folder, for a mask
    that fits several pictures or a picture with several masks, and when nothing matches.
    """
    if not masks_dir.is_dir():
        raise InputError(f"masks: no folder {masks_dir}; expected PNG files named as the pictures")
    by_path, by_stem = defaultdict(list), defaultdict(list)
    for row, name in enumerate(names):
        key = os.path.splitext(name)[0]
        by_path[key].append(row)
        by_stem[key.rpartition("/")[2]].append(row)
    matches: dict[int, Path] = {}
    masks = sorted(path for path in masks_dir.rglob("*") if path.suffix.lower() == ".png" and path.name[0] != ".")
    for mask in masks:
        key = os.path.splitext(mask.relative_to(masks_dir).as_posix())[0]
        rows = by_path.get(key) or ([] if "/" in key else by_stem.get(key, []))
        if len(rows) > 1:
            raise InputError(
                f"mask {mask}: fits {len(rows)} pictures, {names[rows[0]]} and {names[rows[1]]};"
                " give pictures different names and mirror their folders under the masks"
            )
        for row in rows:
            if row in matches:
                raise InputError(f"picture {names[row]}: has two masks, {matches[row]} and {mask}; remove one")
            matches[row] = mask
    if not matches:
        raise InputError(
            f"masks {masks_dir}: none of {len(masks)} PNG files fits a picture; expected e.g."
            f" {os.path.splitext(names[0])[0]}.png for {names[0]}"
        )
    return matches


def read_boxes(names: Sequence[str], path: Path, of_more: bool = False) -> dict[int, tuple[float, float, float, float]]:
    """Read boxes in source pixels, half open, from a table with the columns file, x0, y0, x1, y1: row -> box.

    A box without area says that the picture has none, as published tables do: the picture is left out; with of_more,
    so is one that is not among the names. Raises InputError, naming file and line, for an unknown or repeated picture
    and for values that are no box, and when no box is left.
    """
    rows = {name: row for row, name in enumerate(names)}
    boxes: dict[int, tuple[float, float, float, float]] = {}
    lines: dict[str, int] = {}  # picture -> line
    for line, entry in read_table(path, ("file", *BOX_COLUMNS)):
        name = entry["file"]
        if of_more and name not in rows:
            continue
        if name not in rows:
            raise InputError(
                f"{path} line {line}: no picture {name!r} in the data set; expected a path such as {names[0]}"
            )
        if name in lines:
            raise InputError(f"{path} line {line}: {name} has a box in line {lines[name]} already; keep one")
        x0, y0, x1, y1 = box = tuple(_number(entry[column], column, path, line) for column in BOX_COLUMNS)
        if not (0 <= x0 <= x1 and 0 <= y0 <= y1):
            raise InputError(f"{path} line {line}: box {box} of {name}; expected 0 <= x0 < x1 and 0 <= y0 < y1")
        lines[name] = line
        if x0 < x1 and y0 < y1:
            boxes[rows[name]] = x0, y0, x1, y1
    if not boxes and not of_more:
        raise InputError(f"{path}: all {len(lines)} boxes are empty; expected x0 < x1 and y0 < y1")
    return boxes


def _number(text: str, column: str, path: Path, line: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{path} line {line}: {column} is {text!r}; expected a number of pixels")
    return value


def read_table(path: Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Read a CSV file with a header: [(line number, {column: text})]; other columns may be there.

    Raises InputError for a missing, empty or undecodable file, a missing column and a row of the wrong length.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            header = reader.fieldnames or []
            entries = [(reader.line_num, entry) for entry in reader]
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror}); expected columns {', '.join(columns)}") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a CSV file in UTF-8 ({error}); save it again") from None
    missing = [column for column in columns if column not in header]
    if missing:
        raise InputError(
            f"{path}: no column {', '.join(missing)} in the header {', '.join(header) or '(empty)'}; add it"
        )
    if not entries:
        raise InputError(f"{path}: the table is empty; expected one line a picture below the header")
    for line, entry in entries:
        if None in entry or None in entry.values():
            raise InputError(f"{path} line {line}: not the {len(header)} columns of the header; mend the line")
    return entries
