"""READ Waterbirds in the layout of WILDS and group DRO: ROOT/metadata.csv, pictures, maybe ROOT/masks/ (PNG).

Columns img_filename, y (1 = waterbird), split (0 train, 1 val, 2 test), place (1 = water), and img_id if there is
one. group = 2 y + place (Sagawa et al. 2020), so 0 landbird on land ... 3 waterbird on water.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from clp_aug.contract.errors import InputError
from clp_aug.datasets.annotations import read_table, with_annotations
from clp_aug.datasets.base import FileDataset, Samples

CLASSES, PLACES = ("landbird", "waterbird"), ("land", "water")
GROUPS = tuple(f"{bird} on {place}" for bird in CLASSES for place in PLACES)
ALLOWED = {"y": (0, 1), "split": (0, 1, 2), "place": (0, 1)}


def load(root: Path) -> FileDataset:
    """Return the data set of ROOT/metadata.csv; ids are img_id where there is one, else line positions from 0.

    Raises InputError that names file, line, value and expectation for a wrong table, and counts missing pictures.
    """
    root = Path(root)
    path = root / "metadata.csv"
    ids: dict[int, int] = {}  # id -> line
    files: dict[str, int] = {}  # file -> line
    columns: dict[str, list[int]] = {column: [] for column in ALLOWED}
    for position, (line, entry) in enumerate(read_table(path, ("img_filename", *ALLOWED))):
        for column, allowed in ALLOWED.items():
            columns[column].append(_whole(entry[column], column, allowed, path, line))
        sample_id = _whole(entry["img_id"], "img_id", None, path, line) if "img_id" in entry else position
        name = entry["img_filename"]
        if sample_id in ids:
            raise InputError(
                f"{path} line {line}: img_id {sample_id} is in line {ids[sample_id]} already; ids must differ"
            )
        if name in files:
            raise InputError(f"{path} line {line}: {name} is in line {files[name]} already; list a picture once")
        if not name or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise InputError(f"{path} line {line}: img_filename is {name!r}; expected a path below {root}")
        ids[sample_id], files[name] = line, line

    names = list(files)
    missing = [name for name in names if not (root / name).is_file()]
    if missing:
        raise InputError(
            f"{path}: {len(missing):,} of {len(names):,} pictures are missing, first {root / missing[0]};"
            " restore them or take them out of the table"
        )
    group = [2 * y + place for y, place in zip(columns["y"], columns["place"], strict=True)]
    samples = Samples.of(columns["y"], columns["split"], names, list(ids), group)
    dataset = FileDataset("waterbirds", root, CLASSES, samples, GROUPS)
    return with_annotations(dataset, root / "masks" if (root / "masks").is_dir() else None)


def _whole(text: str, column: str, allowed: tuple[int, ...] | None, path: Path, line: int) -> int:
    """Read a whole number: one of `allowed`, or any id of an int64."""
    value = int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else -1
    if value < 0 or (allowed and value not in allowed):
        expected = " or ".join(map(str, allowed)) if allowed else "a whole number >= 0"
        raise InputError(f"{path} line {line}: {column} is {text!r}; expected {expected}")
    return value
