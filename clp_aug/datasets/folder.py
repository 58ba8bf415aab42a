"""READ class folders: ROOT/<class>/a.jpg, or ROOT/train/<class>/a.jpg with val/ and test/ beside it.

ROOT/masks/ mirrors the pictures' paths (PNG), ROOT/boxes.csv lists boxes (file, x0, y0, x1, y1); both may lack.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from clp_aug.contract import images
from clp_aug.contract.errors import InputError
from clp_aug.datasets.annotations import with_annotations
from clp_aug.datasets.base import SPLITS, TEST, TRAIN, VAL, FileDataset, Samples

MASKS, BOXES = "masks", "boxes.csv"
HELD_OUT = {TEST: 5, VAL: 10}  # split -> one of how many pictures of a class


class FolderDataset(FileDataset):
    """Class folders. ignored: how many hidden files and files that are no pictures were passed over."""

    def __init__(
        self,
        name: str,
        root: Path,
        class_names: Sequence[str],
        samples: Samples,
        ignored: int,
        remarks: tuple[str, ...] = (),
    ) -> None:
        super().__init__(name, root, class_names, samples)
        self.ignored, self.remarks = ignored, remarks


def load(root: Path, name: str = "folder", hold_out: bool = True) -> FolderDataset:
    """Return the class folders under `root`, with its masks and boxes where there are some.

    Classes and files are in the order of their names, splits in the order train, val, test; ids are positions.
    Without a `train` folder a fifth of each class is test and a tenth val data, by the digests of the files' names;
    hold_out: unless all of it is to be training data. Raises InputError for an empty class folder, a picture outside a
    class folder, a class that training does not have, and folders that fit neither layout. Source: ours.
    """
    root = Path(root)
    parts, ignored = _parts(root)
    class_names: list[str] = []
    label, split, names = [], [], []
    for which, part in parts.items():
        classes, passed_over = _class_folders(root / part)
        ignored += passed_over if part else 0  # without parts, the root was counted already
        class_names = classes if which == TRAIN else class_names
        for folder in classes:
            where = root / part / folder
            if folder not in class_names:
                raise InputError(f"{where}: train/ has no class {folder!r}; rename the folder or add training pictures")
            files, passed_over = _pictures(where)
            ignored += passed_over
            label += [class_names.index(folder)] * len(files)
            split += [which] * len(files)
            names += [(Path(part) / folder / file).as_posix() for file in files]
    if not names:
        example = Path("cat") / "1.jpg"
        raise InputError(f"{root}: no class folder; expected {root / example} or {root / 'train' / example}")
    remarks = [f"files passed over, hidden or none of {', '.join(images.SUFFIXES)}: {ignored}"] if ignored else []
    if hold_out and not parts[TRAIN]:
        split = hold_out_rows(label, names)
        remarks.append("no train/ folder: val and test were held out of each class by file name; to choose them, put"
                       " pictures under train/, val/ and test/")  # fmt: skip
    dataset = FolderDataset(name, root, class_names, Samples.of(label, split, names), ignored, tuple(remarks))
    return with_annotations(
        dataset,
        root / MASKS if (root / MASKS).is_dir() else None,
        root / BOXES if (root / BOXES).is_file() else None,
    )


def hold_out_rows(label: list[int], names: list[str]) -> list[int]:
    """Return the split of each picture: of every class the shares of HELD_OUT, rounded down, train for the rest.

    The same files are held out on any machine, and the order of their names does not tell which.
    """
    order = sorted(range(len(names)), key=lambda row: hashlib.sha256(names[row].encode()).digest())
    split = [TRAIN] * len(names)
    for c in set(label):
        rows = [row for row in order if label[row] == c]
        start = 0
        for which, one_of in HELD_OUT.items():
            stop = start + len(rows) // one_of
            for row in rows[start:stop]:
                split[row] = which
            start = stop
    return split


def _parts(root: Path) -> tuple[dict[int, str], int]:
    """Tell the layout: split -> folder below the root, and the number of files passed over in the root."""
    folders, ignored = _class_folders(root)
    splits = [folder for folder in folders if folder in SPLITS]
    if not splits:
        return {TRAIN: ""}, ignored
    if "train" not in splits:
        raise InputError(f"{root}: there is {splits[0]}/ but no train/; expected train/<class>/ with pictures")
    strange = [folder for folder in folders if folder not in SPLITS]
    if strange:
        raise InputError(f"{root}: beside train/ there is {strange[0]}/; expected only train, val, test and {MASKS}")
    return {split: folder for split, folder in enumerate(SPLITS) if folder in splits}, ignored


def _class_folders(folder: Path) -> tuple[list[str], int]:
    """Return the sub-folders but masks/, sorted, and the number of files passed over."""
    folders, pictures, ignored = _list(folder)
    if pictures:
        raise InputError(f"{folder / pictures[0]}: a picture outside a class folder; move it into one")
    return [name for name in folders if name != MASKS], ignored


def _pictures(folder: Path) -> tuple[list[str], int]:
    """Return the pictures of one class folder, sorted, and the number of files passed over."""
    folders, pictures, ignored = _list(folder)
    if folders:
        raise InputError(f"{folder / folders[0]}: a folder inside a class folder; put its pictures into {folder}")
    if not pictures:
        raise InputError(f"{folder}: a class folder without pictures ({', '.join(images.SUFFIXES)}); fill or remove it")
    return pictures, ignored


def _list(folder: Path) -> tuple[list[str], list[str], int]:
    """List one folder: names of folders, names of pictures, both sorted, and the number of other files."""
    folders, pictures, ignored = [], [], 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                hidden = entry.name.startswith(".")
                if entry.is_dir():
                    folders += [] if hidden else [entry.name]
                elif not hidden and entry.name.lower().endswith(images.SUFFIXES):
                    entry.name.encode()  # fingerprints and shards hold names as UTF-8
                    pictures.append(entry.name)
                else:
                    ignored += entry.name != BOXES
    except OSError as error:
        raise InputError(f"cannot list {folder} ({error.strerror}); give the folder of the pictures") from None
    except UnicodeEncodeError as error:
        raise InputError(f"{folder}: the file name {error.object!r} is not UTF-8; rename it") from None
    return sorted(folders), sorted(pictures), ignored
