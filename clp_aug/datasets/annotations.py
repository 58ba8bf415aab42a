"""READ: masks and boxes that lie beside the pictures of a file data set."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from clp_aug.contract.errors import InputError, UsageError
from clp_aug.datasets.base import Annotations, Dataset, FileDataset
from clp_aug.datasets.masks import mask_files, match, unused
from clp_aug.datasets.names import shown
from clp_aug.datasets.tables import read_table

AnyDataset = TypeVar("AnyDataset", bound=Dataset)
BOX_COLUMNS = ("x0", "y0", "x1", "y1")


def with_annotations(
    dataset: AnyDataset,
    masks_dir: Path | str | None = None,
    boxes_csv: Path | str | None = None,
    of_more: bool = False,
) -> AnyDataset:
    """Return the data set with masks from a folder and boxes from a table; what is given replaces what it had.

    masks_dir: PNG files, matched as `masks.match_masks` says; boxes_csv: columns file, x0, y0, x1, y1; of_more: they
    are of a larger set, and pictures that this one does not have are passed over. Partial coverage is fine:
    `annotations.masks` and `annotations.boxes` of the result hold what was matched, by row. Raises UsageError for a
    data set without picture files, InputError when nothing matches or the table is wrong. Source: ours.
    """
    if masks_dir is None and boxes_csv is None:
        return dataset
    if not isinstance(dataset, FileDataset):
        raise UsageError(f"data set {dataset.name} has no picture files that --masks or --boxes could name; drop them")
    masks, boxes = dataset.annotations.masks, dataset.annotations.boxes
    annotated = copy.copy(dataset)
    if masks_dir is not None:
        files = mask_files(Path(masks_dir))
        masks = match(dataset.samples.name, files)
        remark = None if of_more else unused(files, masks)
        annotated.remarks = (*dataset.remarks, *([remark] if remark else ()))
    if boxes_csv is not None:
        boxes = read_boxes(dataset.samples.name, Path(boxes_csv), of_more)
        if not boxes:
            annotated.remarks = (*annotated.remarks, f"{boxes_csv}: no box in it is of a picture of this set")
    annotated.annotations = Annotations(masks, boxes)
    return annotated


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
                f"{path} line {line}: no picture {shown(name)} in the data set; expected a path such as {names[0]}"
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
        raise InputError(f"{path} line {line}: {column} is {shown(text)}; expected a number of pixels")
    return value
