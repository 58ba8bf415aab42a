"""The pictures to predict: a folder, a list, or a split of a data set; with labels and groups, if known."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from clp_aug.common.files import disk_error
from clp_aug.common.plugins import label as label_of
from clp_aug.contract import images
from clp_aug.contract.errors import InputError, suggestion
from clp_aug.datasets import load_dataset
from clp_aug.datasets.names import files_below, some
from clp_aug.datasets.splits import split_number
from clp_aug.datasets.tables import read_table
from clp_aug.datasets.unreadable import leave_out
from clp_train.predicting.description import Description
from clp_train.predicting.trained import image_of

UNKNOWN = -1
TABLE_COLUMN = "file"
NONE: Mapping[str, np.ndarray] = {}


@dataclass(frozen=True)
class Source:
    """Pictures to predict. names: in the table; read: row -> uint8 (size, size, 3); label, group: int64 (n,), UNKNOWN
    if not known; strata: name -> which pictures are in it, bool (n,); remarks: notes for the user on how the pictures
    were found.
    """

    names: Sequence[str]
    read: Callable[[int], np.ndarray]
    label: np.ndarray
    group: np.ndarray
    strata: Mapping[str, np.ndarray] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)


def find_pictures(path: Path, about: Description) -> Source:
    """Return the pictures of a folder, at any depth, the pictures of a list, or one picture.

    A picture in a folder with the name of a class has that label. Raises InputError if there are no pictures.
    """
    if path.is_dir():
        return of_folder(path, about)
    if path.name.lower().endswith(images.SUFFIXES):
        return of_files(path.parent, [path.name], [None], about)
    return of_list(path, about)


def of_folder(folder: Path, about: Description) -> Source:
    """Return the pictures below a folder, in the order of their paths. Raises InputError if there are none."""
    names = [path.relative_to(folder).as_posix() for path in files_below(folder)]
    shown = [name for name in names if not any(part.startswith(".") for part in PurePosixPath(name).parts)]
    pictures = [name for name in shown if name.lower().endswith(images.SUFFIXES)]
    if not pictures:
        raise InputError(f"{folder}: no picture in it ({', '.join(images.SUFFIXES)}), nor in folders below")
    others = [name for name in shown if name not in set(pictures)]
    remarks = [f"files left out, not pictures by their names: {len(others)} ({some(others)})"] if others else []
    labels = [folder_class(name, about.class_names) for name in pictures]
    return of_files(folder, pictures, labels, about, remarks)


def folder_class(name: str, class_names: Sequence[str]) -> str | None:
    """Return the class with the name of a picture's folder, None for another folder. The innermost folder counts."""
    return next((part for part in reversed(PurePosixPath(name).parts[:-1]) if part in class_names), None)


def of_files(
    root: Path, names: Sequence[str], labels: Sequence[str | None], about: Description, remarks: Sequence[str] = ()
) -> Source:
    """Return files below a folder as pictures. labels: names of classes of the run, None if unknown.

    If the run has no groups, its groups are its classes.
    """
    index = {name: c for c, name in enumerate(about.class_names)}
    label = np.array([UNKNOWN if one is None else index[one] for one in labels], np.int64)
    group = np.full(len(names), UNKNOWN) if about.group_names else label
    return Source(
        names, lambda row: image_of(root / names[row], about.size, about.fit), label, group, NONE, tuple(remarks)
    )


def of_list(path: Path, about: Description) -> Source:
    """Return the pictures that a file lists: text with one path per line, relative to the file's folder, or a CSV table
    with the column file and, if known, label and group.

    Raises InputError for a file that is not a list, and for a label or group that the run does not have.
    """
    lines = lines_of(path)
    header = [name.strip().strip('"').lower() for sign in ",;\t" for name in lines[0].split(sign)]
    if TABLE_COLUMN not in header:
        return of_files(path.parent, lines, [None] * len(lines), about)
    columns = [name for name in (TABLE_COLUMN, "label", "group") if name in header]
    rows = read_table(path, columns)
    names, labels = [row[TABLE_COLUMN] for _, row in rows], [row.get("label") or None for _, row in rows]
    for (line, _), label in zip(rows, labels, strict=True):
        require_name(path, line, "class", label, about.class_names)
    source = of_files(path.parent, names, labels, about)
    if "group" not in columns or not about.group_names:
        return source
    for line, row in rows:
        require_name(path, line, "group", row["group"] or None, about.group_names)
    index = {"": UNKNOWN} | {name: g for g, name in enumerate(about.group_names)}
    group = np.array([index[row["group"]] for _, row in rows], np.int64)
    return Source(names, source.read, source.label, group)


def lines_of(path: Path) -> list[str]:
    """Return the lines of a list that are not empty. Raises InputError for a file without any, or that is not text."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, ValueError) as error:
        if isinstance(error, UnicodeDecodeError):
            raise InputError(
                f"{path}: its name is not a picture's, and it is no list of pictures: not UTF-8 text"
            ) from None
        raise disk_error(path, error, "read") from None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise InputError(f"{path}: the list is empty; expected one path of a picture per line")
    return lines


def require_name(path: Path, line: int, what: str, name: str | None, names: Sequence[str]) -> None:
    """Raise InputError for a class or group in a list that the run does not have."""
    if name is not None and name not in names:
        raise InputError(f"{path} line {line}: no {what} {name!r} in the run: {suggestion(names, name)}{shown(names)}")


def shown(names: Sequence[str]) -> str:
    """Return the names as text, only the first of many."""
    return f"it has {', '.join(names[:10])}" + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def of_dataset(name: str, root: Path | None, split: str | None, about: Description) -> Source:
    """Return the pictures of a split of a data set; its labels and groups are matched to the run by name.

    split: its name, None for the first test split with pictures. Pictures that the run left out are left out here.
    Raises UsageError for an unknown data set or split, InputError for one without pictures or without classes of the
    run.
    """
    is_same = label_of(name) == about.dataset
    dataset = load_dataset(name, root, about.attributes if is_same else ())
    if is_same:
        dataset = leave_out(dataset, about.left_out)
    rows = np.flatnonzero(dataset.samples.split == split_number(dataset, split, "--split"))
    if not set(dataset.class_names) & set(about.class_names):
        raise InputError(f"data set {name}: it has no class of the run, {shown(about.class_names)}; choose another")
    label = by_name(dataset.class_names, about.class_names)[dataset.samples.label[rows]]
    group = label
    if about.group_names:
        known = set(dataset.group_names) & set(about.group_names)
        groups = by_name(dataset.group_names, about.group_names)
        group = groups[dataset.samples.group[rows]] if known else np.full(len(rows), UNKNOWN)
    strata = {title: index[rows] == k for titles, index in dataset.strata.values() for k, title in enumerate(titles)}
    names = [dataset.samples.name[row] for row in rows.tolist()]
    return Source(
        names, lambda row: dataset.image(int(rows[row]), about.size, about.fit), label, group, strata, dataset.remarks
    )


def by_name(theirs: Sequence[str], ours: Sequence[str]) -> np.ndarray:
    """Return their index -> our index, int64, UNKNOWN for a name that we do not have."""
    return np.array([ours.index(name) if name in ours else UNKNOWN for name in theirs], np.int64)


def same_file(first: Path, second: Path) -> bool:
    """Return whether two paths are the same file."""
    return first.exists() and second.exists() and os.path.samefile(first, second)
