"""AUDIT DATA: the table of pictures with their guessed groups, which `--dataset table` can read."""

from __future__ import annotations

import csv
import io
import shlex
from pathlib import Path
from typing import Any

import numpy as np

from clp_aug.common.files import check_name, disk_error, written_beside
from clp_aug.contract.errors import InputError, UsageError
from clp_aug.contract.images import Geometry
from clp_aug.contract.schema import OK
from clp_aug.datasets.base import Dataset, FileDataset
from clp_aug.datasets.table import TABLES, find_tables
from clp_train.auditing.data_boxes import Boxes
from clp_train.auditing.data_groups import Guess

GROUP_COLUMN = "background_group"
BOX_COLUMNS = ("x0", "y0", "x1", "y1")
COLUMNS = ("file", "label", "split", GROUP_COLUMN, *BOX_COLUMNS)
TABLE, ASIDE = TABLES[0], "table-before.csv"


def check_out(path: Path) -> None:
    """Raise UsageError for a place that holds anything but a table of clp-audit, InputError if it cannot be written."""
    check_name(path)
    if path.is_dir():
        raise UsageError(f"--out {path}: it is a folder; give the name of a new table")
    if not path.parent.is_dir():
        raise disk_error(path, FileNotFoundError(2, "No such file or directory"))
    if path.exists() and first_line(path) != ",".join(COLUMNS):
        raise UsageError(f"--out {path}: the file exists and is not a table of clp-audit; give the name of a new table")


def first_line(path: Path) -> str:
    """Return the first line of a file, as far as it is text. Raises InputError when the disk refuses."""
    try:
        with open(path, "rb") as file:
            return file.readline(1000).decode("utf-8", "replace").strip()
    except OSError as error:
        raise disk_error(path, error, "read") from None


def write_groups(path: Path, boxes: Boxes, rows: np.ndarray, guess: Guess) -> int:
    """Write one line per picture, in the order of the data set: file, label, split, background_group and box.

    rows: of the data set, int64 (n,), in the order of `guess.value`; paths are relative to the data set's root, boxes
    are in pixels of the upright picture. The box is empty if the chosen matte found none; a later run looks for it
    again. Returns the number of boxes. Raises InputError when the file cannot be written.
    """
    dataset, text, written = boxes.dataset, io.StringIO(newline=""), 0
    writer: Any = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    order = np.argsort(rows, kind="stable")
    for row, value in zip(rows[order].tolist(), guess.value[order].tolist(), strict=True):
        box = box_in_source(dataset, row, boxes) if boxes.outcome[row] == OK else None
        written += box is not None
        samples = dataset.samples
        writer.writerow([
            samples.name[row], dataset.class_names[samples.label[row]], dataset.splits[samples.split[row]],
            guess.values[value], *(("",) * 4 if box is None else map(as_text, box)),
        ])  # fmt: skip
    with written_beside(path) as temporary:
        temporary.write_bytes(text.getvalue().encode())
    return written


def box_in_source(dataset: Dataset, row: int, boxes: Boxes) -> tuple[float, float, float, float] | None:
    """Return the box of a row in pixels of its upright picture; None for a picture of unknown size.

    The same resize and crop maps it back to the same box, to the pixel.
    """
    if not isinstance(dataset, FileDataset):
        return None
    frame = Geometry.of(*dataset.source_size(row), boxes.size, boxes.fit)
    x0, y0, x1, y1 = boxes.box[row].tolist()
    across, down = frame.width / boxes.size, frame.height / boxes.size
    return frame.left + x0 * across, frame.top + y0 * down, frame.left + x1 * across, frame.top + y1 * down


def as_text(value: float) -> str:
    """Return pixels as text that reads back as the same number."""
    return str(int(value)) if value == int(value) else repr(value)


def place_of(path: Path, dataset: Dataset) -> tuple[Path, list[str]] | None:
    """Return the root with which `--dataset table` reads a written table, and the commands that first move it there.

    The table must be in the root of the pictures, and must be the one that is read there. None for a data set without
    picture files.
    """
    if not (isinstance(dataset, FileDataset) and dataset.loose):
        return None
    root, target = dataset.root, dataset.root / TABLE
    if path.absolute().parent == root.absolute() and is_taken(root, path.name):
        return root, []
    aside = [["mv", str(target), str(root / ASIDE)]] if target.exists() else []
    return root, [shlex.join(words) for words in (*aside, ["cp", str(path), str(target)])]


def is_taken(root: Path, name: str) -> bool:
    """Return whether `--dataset table` reads the table of this name in a root."""
    try:
        return find_tables(root) == [root / name]
    except InputError:  # several
        return False
