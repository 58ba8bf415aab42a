"""READ the long-tailed sets that are published as lists: ImageNet-LT, Places-LT (Liu et al. 2019), iNaturalist 2018.

One text file per split, one picture per line: its path, a blank and its label, a number. The names of classes are in
`names.txt` or `classnames.txt` beside the lists, one per line in the order of the labels; without such a file they are
numbers. Accuracy is also reported for classes with many, a medium number and few training pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clp_aug.contract.errors import InputError
from clp_aug.datasets.annotations import with_own
from clp_aug.datasets.base import TEST, TRAIN, VAL, FileDataset, Samples
from clp_aug.datasets.names import LONGEST_PATH, check_names, is_file, is_folder, short_path, shown, some
from clp_aug.datasets.paths import below
from clp_aug.datasets.strata import shot_strata
from clp_aug.datasets.tables import text_of

NAMES = ("names.txt", "classnames.txt")
MOST_CLASSES = 100_000


@dataclass(frozen=True)
class Layout:
    """One published set: its name, its lists by split, and their possible folders below the root."""

    name: str
    lists: dict[int, str]
    folders: tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """One line of a list. where: file and line, for messages; path: as in the list; split: of the list."""

    where: str
    path: str
    label: int
    split: int


LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout(
            "imagenet-lt",
            {TRAIN: "ImageNet_LT_train.txt", VAL: "ImageNet_LT_val.txt", TEST: "ImageNet_LT_test.txt"},
            ("", "ImageNet_LT", "data_txt/ImageNet_LT"),
        ),
        Layout(
            "places-lt",
            {TRAIN: "Places_LT_train.txt", VAL: "Places_LT_val.txt", TEST: "Places_LT_test.txt"},
            ("", "Places_LT", "Places_LT_v2", "data_txt/Places_LT_v2"),
        ),
        Layout(
            "inaturalist18",
            {TRAIN: "iNaturalist18_train.txt", TEST: "iNaturalist18_val.txt"},  # no test labels are published
            ("", "iNaturalist18", "data_txt/iNaturalist18"),
        ),
    )
}


class ListDataset(FileDataset):
    """Pictures of lists, with the strata of a long tail."""

    def __init__(self, name: str, root: Path, class_names: Sequence[str], samples: Samples) -> None:
        self.strata = shot_strata(samples.label, samples.split, len(class_names))
        super().__init__(name, root, class_names, samples)


def load(root: Path, name: str) -> ListDataset:
    """Return the data set of that name, one of LAYOUTS; ids are positions, training pictures first.

    Paths in a list may be from another machine: for each list, the longest end of a path that leads to a picture below
    the root is used. ROOT/masks/ and ROOT/boxes.csv are optional and may have more pictures. Raises InputError for a
    list that is missing or wrong, with its line, and for missing pictures, with their number.
    """
    layout, root = LAYOUTS[name], Path(root)
    folder = folder_of(layout, root)
    entries: list[Entry] = []
    names: list[str] = []
    for which, file in layout.lists.items():
        of_list = read_list(folder / file, which)
        names += below(root, [entry.path for entry in of_list], folder / file)
        entries += of_list
    classes = check_labels(entries, folder / layout.lists[TRAIN])
    check_once(names, entries)
    label, split = [entry.label for entry in entries], [entry.split for entry in entries]
    dataset = ListDataset(name, root, class_names_of(folder, root, classes), Samples.of(label, split, names))
    masks, boxes = root / "masks", root / "boxes.csv"
    return with_own(dataset, masks if is_folder(masks) else None, boxes if is_file(boxes) else None, of_more=True)


def folder_of(layout: Layout, root: Path) -> Path:
    """Return the folder of the lists. Raises InputError with the name of a missing list."""
    places = [root / folder for folder in layout.folders]
    files = list(layout.lists.values())
    found = [place for place in places if is_file(place / files[0])]
    if not found:
        raise InputError(
            f"data set {layout.name}: no {files[0]} in {root} or {some(layout.folders[1:])} below it; put the published"
            " lists there"
        )
    for name in files:
        if not is_file(found[0] / name):
            raise InputError(f"data set {layout.name}: no {name} in {found[0]}; put the published list there")
    return found[0]


def read_list(path: Path, split: int) -> list[Entry]:
    """Return the entries of a list. Raises InputError, with the line, for a malformed entry."""
    entries = []
    for line, text in enumerate(text_of(path, "a list of paths and labels").splitlines(), 1):
        parts = text.strip().rsplit(maxsplit=1)
        if not parts:
            continue
        number = parts[-1]
        if len(parts) < 2 or not (number.isascii() and number.isdecimal() and len(number) < 10):
            raise InputError(f"{path} line {line}: {shown(text)}; expected a path, a blank and a label 0, 1, ...")
        if int(number) >= MOST_CLASSES:
            raise InputError(f"{path} line {line}: label {number}; expected less than {MOST_CLASSES:,}")
        entries.append(Entry(f"{path} line {line}", parts[0].rstrip(), int(number), split))
    if not entries:
        raise InputError(f"{path}: the list is empty; expected a path, a blank and a label per line")
    check_names((entry.path for entry in entries), "picture", path, LONGEST_PATH)
    return entries


def check_labels(entries: Sequence[Entry], train: Path) -> int:
    """Return the number of classes. Raises InputError unless each has a training picture. train: the training list."""
    trained = {entry.label for entry in entries if entry.split == TRAIN}
    for number in range(len(trained)):
        if number not in trained:
            raise InputError(f"{train}: no picture of label {number}; expected all of 0..{max(trained)}")
    for entry in entries:
        if entry.label not in trained:
            raise InputError(
                f"{entry.where}: no training picture has label {entry.label}; expected 0..{len(trained) - 1}"
            )
    return len(trained)


def check_once(names: Sequence[str], entries: Sequence[Entry]) -> None:
    """Raise InputError for a picture that two lists name."""
    first: dict[str, str] = {}
    for name, entry in zip(names, entries, strict=True):
        if name in first:
            raise InputError(
                f"{entry.where}: {short_path(name)} is in {first[name]} already; no picture may be in two splits"
            )
        first[name] = entry.where


def class_names_of(folder: Path, root: Path, count: int) -> list[str]:
    """Return the names of the classes, or numbers if no file has names. Raises InputError for too many or too few."""
    places = (place / name for place in (folder, root) for name in NAMES)
    path = next((place for place in places if is_file(place)), None)
    if path is None:
        return [str(number) for number in range(count)]
    names = [line.strip() for line in text_of(path, "a class name per line").splitlines() if line.strip()]
    if len(names) != count:
        raise InputError(f"{path}: {len(names):,} names of {count:,} classes; expected one per line, by label")
    check_names(names, "class", path)
    return names
