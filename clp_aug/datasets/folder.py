"""READ class folders: ROOT/<class>/a.jpg, or ROOT/train/<class>/a.jpg with val/ and test/ beside it.

ROOT/masks/ mirrors the pictures' paths (PNG), ROOT/boxes.csv lists boxes (file, x0, y0, x1, y1); both are optional.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from clp_aug.contract.errors import InputError
from clp_aug.datasets.annotations import with_annotations, with_own
from clp_aug.datasets.base import TEST, TRAIN, VAL, FileDataset, Samples
from clp_aug.datasets.class_folders import BOXES, MASKS, Layout, layout_of, list_class, list_folder
from clp_aug.datasets.names import is_file, some

HELD_OUT = {TEST: 5, VAL: 10}  # split -> one picture of this number, per class
AS_CLASS = f"if {MASKS} is a class, rename its folder, or put all classes under train/"


class FolderDataset(FileDataset):
    """Class folders. ignored: number of hidden files, and files that are no pictures, that were ignored."""

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
    """Return the class folders under `root`, with its masks and boxes if there are some.

    Classes and files are in alphabetical order, splits in the order train, val, test; ids are positions. hold_out:
    without val and test pictures, use a fifth of each class as test and a tenth as val data, by the digests of the
    files' names; False keeps all as training data. Raises InputError for an empty class folder, a picture outside a
    class folder, a class that training does not have, and folders that fit neither layout. Source: ours.
    """
    root = Path(root)
    layout = layout_of(root)
    class_names, passed_over = layout.splits[TRAIN][1], list(layout.passed_over)
    label, split, names = [], [], []
    for which, (part, classes) in layout.splits.items():
        for folder in classes:
            if folder not in class_names:
                where = root / part / folder
                raise InputError(f"{where}: train/ has no class {folder!r}; rename the folder or add training pictures")
            inside = list_class(root, part, folder, layout)
            below = (Path(part) / folder).as_posix()
            passed_over += [f"{below}/{file}" for file in inside.others]
            label += [class_names.index(folder)] * len(inside.pictures)
            split += [which] * len(inside.pictures)
            names += [f"{below}/{file}" for file in inside.pictures]
    if not names:
        example = Path("cat") / "1.jpg"
        raise InputError(f"{root}: no class folder; expected {root / example} or {root / 'train' / example}"
                         + (f"; {AS_CLASS}" if layout.masks else ""))  # fmt: skip
    remarks = remarks_on(layout, passed_over)
    if hold_out and set(split) == {TRAIN}:
        split = hold_out_rows(label, names)
        remarks += remarks_on_held_out(label, split, class_names, bool(layout.splits[TRAIN][0]))
    files = sum(not name.endswith("/") for name in passed_over)
    dataset = FolderDataset(name, root, class_names, Samples.of(label, split, names), files, tuple(remarks))
    dataset = with_masks(dataset, root, layout)
    return with_annotations(dataset, boxes_csv=root / BOXES if is_file(root / BOXES) else None)


def with_masks(dataset: FolderDataset, root: Path, layout: Layout) -> FolderDataset:
    """Return the data set with the masks of ROOT/masks/. If pictures are directly in that folder, it may be a class."""
    if not layout.masks:
        return dataset
    inside, in_splits = list_folder(root / MASKS), bool(layout.splits[TRAIN][0])
    if in_splits or inside.folders or not inside.pictures:
        return with_own(dataset, root / MASKS)
    if len(dataset.class_names) == 1:
        raise InputError(f"{root}: one class, {dataset.class_names[0]}/, beside {MASKS}/; {AS_CLASS}")
    try:
        dataset = with_annotations(dataset, root / MASKS)
    except InputError as error:
        raise InputError(f"{error}; {AS_CLASS}") from None
    remark = f"{MASKS}/ is read as the masks of {len(dataset.annotations.masks)} pictures, not as a class; {AS_CLASS}"
    dataset.remarks = (*dataset.remarks, remark)
    return dataset


def remarks_on(layout: Layout, passed_over: Sequence[str]) -> list[str]:
    """Return what a user should know about how folders were read; empty if there was no choice."""
    remarks = [f"{name}/ holds pictures, no class folders: it is read as a class, not as a split"
               for name in layout.read_as_classes]  # fmt: skip
    if passed_over:
        seen_first = sorted(passed_over, key=lambda name: "/." in f"/{name}")  # hidden ones matter least
        count = len(passed_over)
        remarks.append(f"files ignored, hidden or without the suffix of a picture: {count} ({some(seen_first)})")
    return remarks


def remarks_on_held_out(label: list[int], split: list[int], class_names: Sequence[str], train: bool) -> list[str]:
    """Return what a user should know about pictures that were held out. train: whether there is a train folder."""
    tested = {c for c, which in zip(label, split, strict=True) if which == TEST}
    whole = [name for c, name in enumerate(class_names) if c not in tested]
    few = f"fewer than {HELD_OUT[TEST]} pictures"
    if len(whole) == len(class_names):
        return [f"every class has {few}, so no pictures were held out as val and test"]
    there, where = ("train/ alone", "val/ and test/") if train else ("no train/ folder", "train/, val/ and test/")
    remarks = [f"{there}: val and test were held out of each class by file name; to choose them, put"
               f" pictures under {where}"]  # fmt: skip
    return remarks + ([f"classes with {few}, so without a test picture: {some(whole)}"] if whole else [])


def hold_out_rows(label: list[int], names: list[str]) -> list[int]:
    """Return the split of each picture: for every class the fractions of HELD_OUT, rounded down, and train for the
    rest.

    The same files are held out on any machine; the choice does not depend on the order of their names.
    """
    order = sorted(range(len(names)), key=lambda row: hashlib.sha256(names[row].encode()).digest())
    split = [TRAIN] * len(names)
    of_class: dict[int, list[int]] = {}
    for row in order:
        of_class.setdefault(label[row], []).append(row)
    for rows in of_class.values():
        start = 0
        for which, one_of in HELD_OUT.items():
            stop = start + len(rows) // one_of
            for row in rows[start:stop]:
                split[row] = which
            start = stop
    return split
