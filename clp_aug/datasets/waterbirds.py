"""READ Waterbirds in the layout of WILDS and group DRO: ROOT/metadata.csv, pictures, and optional ROOT/masks/ (PNG).

Columns img_filename, y (1 = waterbird), split (0 train, 1 val, 2 test), place (1 = water), and optional img_id. group =
2 y + place (Sagawa et al. 2020), so 0 landbird on land ... 3 waterbird on water. Subpopulation benchmarks (Yang et al.
2023) write ROOT/metadata_waterbirds.csv with id, filename, split, y, a instead, beside the folder of the published set.

A table that looks like the published set must have its counts. It looks like that set if it has as many pictures, or if
most of them are in folders with names from Caltech-UCSD Birds, for example 001.Black_footed_Albatross. A set of another
origin needs a file recipe.json beside the table; `clp-data waterbirds` writes one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from clp_aug.contract.errors import InputError
from clp_aug.datasets.annotations import with_own
from clp_aug.datasets.base import SPLITS, FileDataset, Samples
from clp_aug.datasets.names import is_file, is_folder, leads_out, same_place, short_path, shown
from clp_aug.datasets.tables import open_table, read_table
from clp_aug.datasets.waterbirds_names import CLASSES, PLACES, PUBLISHED

GROUPS = tuple(f"{bird} on {place}" for bird in CLASSES for place in PLACES)
ALLOWED = {"y": (0, 1), "split": (0, 1, 2), "place": (0, 1)}
SPECIES_FOLDER = re.compile(r"\d{3}\.[^/]+/[^/]+")
TABLES, RECIPE, MASKS = ("metadata.csv", "metadata_waterbirds.csv"), "recipe.json", "masks"
FOLDER = "waterbird_complete95_forest2water2"  # of the published archive
COLUMNS = ("img_filename", *ALLOWED)
SPELLINGS = {"filename": "img_filename", "a": "place", "id": "img_id"}
"""Columns of subpopulation benchmarks -> those of the published table."""


def load(root: Path) -> FileDataset:
    """Return the data set of ROOT/metadata.csv; ids are img_id if there is one, else positions of lines from 0.

    Raises InputError for a wrong table, with file, line, value and expectation; for missing pictures, with their
    number; and for a table that looks like the published set but has other counts.
    """
    root = Path(root)
    path = table_of(root)
    ids: dict[int, int] = {}  # id -> line
    names: list[str] = []
    lines: dict[str, int] = {}  # file, in one spelling -> line
    columns: dict[str, list[int]] = {column: [] for column in ALLOWED}
    for position, (line, entry) in enumerate(read_entries(path)):
        for column, allowed in ALLOWED.items():
            columns[column].append(_whole(entry[column], column, allowed, path, line))
        sample_id = _whole(entry["img_id"], "img_id", None, path, line) if "img_id" in entry else position
        name = entry["img_filename"]
        if sample_id in ids:
            raise InputError(
                f"{path} line {line}: img_id {sample_id} is in line {ids[sample_id]} already; ids must differ"
            )
        if not name or leads_out(name):
            raise InputError(f"{path} line {line}: img_filename is {shown(name)}; expected a path below {root}")
        spelt = same_place(name)
        if spelt in lines:
            raise InputError(
                f"{path} line {line}: {short_path(name)} is in line {lines[spelt]} already; list a picture once"
            )
        names.append(name)
        ids[sample_id], lines[spelt] = line, line

    group = [2 * y + place for y, place in zip(columns["y"], columns["place"], strict=True)]
    pictures = root if is_file(root / names[0]) or not is_file(root / FOLDER / names[0]) else root / FOLDER
    if not is_file(pictures / RECIPE):
        check_published(path, names, np.array(group), np.array(columns["split"]))
    missing = [name for name in names if not is_file(pictures / name)]
    if missing:
        raise InputError(
            f"{path}: {len(missing):,} of {len(names):,} pictures are missing, first"
            f" {pictures}/{short_path(missing[0])}; restore them or take them out of the table"
        )
    samples = Samples.of(columns["y"], columns["split"], names, list(ids), group)
    dataset = FileDataset("waterbirds", pictures, CLASSES, samples, GROUPS)
    return with_own(dataset, pictures / MASKS if is_folder(pictures / MASKS) else None)


def table_of(root: Path) -> Path:
    """Return the table of a root. Raises InputError, with the name of the folder, if a folder in the root holds it."""
    path = next((root / name for name in TABLES if is_file(root / name)), None)
    if path is not None:
        return path
    below = sorted(place.parent for place in root.glob(f"*/{TABLES[0]}"))
    if below:
        raise InputError(f"data set waterbirds: no {TABLES[0]} in {root}; give --root {below[0]}, which holds one")
    return root / TABLES[0]


def read_entries(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Return the lines of a table by the columns of the published one: [(line number, {column: text})]."""
    table = open_table(path, is_of_benchmarks, f"columns {', '.join(COLUMNS)}")
    if not is_of_benchmarks(table.header):
        return read_table(path, COLUMNS)
    return [(line, {SPELLINGS.get(name, name): value for name, value in entry.items()}) for line, entry in table.rows]


def is_of_benchmarks(header: Sequence[str]) -> bool:
    """Return whether a header is that of subpopulation benchmarks."""
    return {"filename", "y", "split", "a"} <= set(header) and not {"img_filename", "place"} & set(header)


def check_published(path: Path, names: Sequence[str], group: np.ndarray, split: np.ndarray) -> None:
    """Raise InputError if a table looks like the published set but has other counts.

    path: of the table, for the message; names: pictures; group, split: int64 (n,).
    """
    species = sum(bool(SPECIES_FOLDER.fullmatch(name)) for name in names)
    if 2 * species < len(names) and len(names) != sum(map(sum, PUBLISHED)):
        return
    for which, expected in enumerate(PUBLISHED):
        counts = tuple(np.bincount(group[split == which], minlength=len(GROUPS)).tolist())
        if counts != expected:
            raise InputError(
                f"{path}: looks like the published Waterbirds, but {SPLITS[which]} has {_listed(counts)} pictures"
                f" per group, expected {_listed(expected)}; unpack the archive again; if you made this set yourself,"
                f" put a file {RECIPE} beside the table that says how"
            )


def _listed(counts: Sequence[int]) -> str:
    return ", ".join(map(str, counts))


def _whole(text: str, column: str, allowed: tuple[int, ...] | None, path: Path, line: int) -> int:
    """Read a whole number, also in the spelling "1.0": one of `allowed`, or any id."""
    text = text.strip()
    digits = text.removesuffix(".0")
    value = int(digits) if digits.isascii() and digits.isdecimal() and len(digits) < 19 else -1
    if value < 0 or (allowed and value not in allowed):
        expected = " or ".join(map(str, allowed)) if allowed else "a whole number >= 0"
        raise InputError(f"{path} line {line}: {column} is {shown(text)}; expected {expected}")
    return value
