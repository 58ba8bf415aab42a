"""READ: what class folders are there, told from names and from where pictures lie; nothing is passed over unsaid.

A folder is a class where pictures lie in it. `train`, `val` and `test` are splits where class folders lie in them, else
classes like any other; `masks` in the root holds masks, in a split it is a class.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from clp_aug.contract import images
from clp_aug.contract.errors import InputError
from clp_aug.datasets.base import SPLITS, TRAIN
from clp_aug.datasets.names import check_names, is_file, is_folder, some

MASKS, BOXES = "masks", "boxes.csv"
OTHER_SPELLINGS = {
    **dict.fromkeys(("training", "tr"), "train"),
    **dict.fromkeys(("valid", "validation", "validate", "dev"), "val"),
    **dict.fromkeys(("testing", "tests", "evaluation", "eval"), "test"),
}
DEPTH, LOOKED_AT = 5, 5  # folders down and beside that are looked into, for a remedy


@dataclass(frozen=True)
class Listing:
    """What one folder holds, names in their order. hidden: folders; others: files that are hidden or no pictures."""

    folders: list[str] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Layout:
    """splits: split -> (its folder below the root, "" for the root; its class folders); passed_over: files and hidden
    folders that are neither; read_as_classes: folders named as splits that are classes; masks: the root has masks/.
    """

    splits: dict[int, tuple[str, list[str]]]
    passed_over: list[str]
    read_as_classes: list[str]
    masks: bool


def list_folder(folder: Path) -> Listing:
    """List one folder. Raises InputError for one that cannot be read, and for names that are not UTF-8."""
    listing = Listing()
    try:
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                hidden = entry.name.startswith(".")
                if entry.is_dir():
                    (listing.hidden if hidden else listing.folders).append(entry.name)
                elif not hidden and entry.name.lower().endswith(images.SUFFIXES) and is_readable(entry):
                    listing.pictures.append(entry.name)
                else:
                    listing.others.append(entry.name)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"cannot list {folder} ({reason}); give the folder of the pictures") from None
    check_names(listing.pictures, "file", folder)  # fingerprints and shards hold names as UTF-8
    check_names(listing.folders, "folder", folder)
    return listing


def is_readable(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a file, or a link, which may lead to one later; pipes would be waited for without an end."""
    return entry.is_symlink() or entry.is_file()


def layout_of(root: Path) -> Layout:
    """Tell what the folders in the root are. Raises InputError, with the remedy, for what fits no layout."""
    top = list_folder(root)
    if top.pictures:
        raise InputError(f"{root / top.pictures[0]}: a picture outside a class folder; {where_else(root, top)}")
    passed_over = [name for name in top.others if name != BOXES] + [f"{name}/" for name in top.hidden]
    folders, masks = [name for name in top.folders if name != MASKS], MASKS in top.folders
    named = {name: list_folder(root / name) for name in folders if name in SPLITS}
    others = [name for name in folders if name not in SPLITS]
    flat = [name for name, inside in named.items() if inside.pictures and not inside.folders]
    if not named or (len(flat) == len(named) and not all(name.lower() in OTHER_SPELLINGS for name in others)):
        return Layout({TRAIN: ("", folders)}, passed_over, flat, masks)
    check_splits(root, named, flat, others)
    for name, inside in named.items():
        passed_over += [f"{name}/{other}" for other in (*inside.others, *(f"{hidden}/" for hidden in inside.hidden))]
    splits = {split: (name, named[name].folders) for split, name in enumerate(SPLITS) if name in named}
    return Layout(splits, passed_over, [], masks)


def where_else(root: Path, top: Listing) -> str:
    """Return the remedy for pictures that lie directly in the root."""
    here = root.resolve()
    siblings = [name for name in peek(here.parent).folders if name != here.name]
    if not top.folders and any(peek(here.parent / name).pictures for name in siblings[:LOOKED_AT]):
        return f"if {here.name} is one class, give the folder of all classes with --root {here.parent}"
    return "move it into one"


def peek(folder: Path) -> Listing:
    """List a folder that a remedy may name; nothing where that cannot be."""
    try:
        return list_folder(folder)
    except InputError:
        return Listing()


def check_splits(root: Path, named: dict[str, Listing], flat: list[str], others: list[str]) -> None:
    """Raise InputError unless the folders are train/, maybe val/ and test/, with class folders in them.

    named: those with such names; flat: those of them that hold pictures and no folders; others: all other folders.
    """
    for name in flat:
        raise InputError(
            f"{root / name / named[name].pictures[0]}: a picture outside a class folder; {name}/ is named as a split,"
            f" so expected {name}/<class>/: sort its pictures, take it away, or rename it if it is a class"
        )
    if "train" not in named:
        raise InputError(f"{root}: there is {next(iter(named))}/ but no train/; expected train/<class>/ with pictures")
    for name in others:
        spelling = OTHER_SPELLINGS.get(name.lower())
        remedy = f"call it {spelling}/" if spelling else "move it elsewhere, or rename train/ if it is a class"
        raise InputError(
            f"{root}: beside train/ there is {name}/; expected only train, val, test and {MASKS}; {remedy}"
        )
    for name, inside in named.items():
        for picture in inside.pictures:
            raise InputError(f"{root / name / picture}: a picture outside a class folder; move it into one of {name}/")


def list_class(root: Path, part: str, name: str, layout: Layout) -> Listing:
    """List one class folder. Raises InputError for one without pictures, or with folders in it."""
    where = root / part / name
    inside = list_folder(where)
    if inside.folders:
        remedy = beside_pictures(where) if inside.pictures else instead_of_pictures(root, part, name, inside, layout)
        raise InputError(f"{where / inside.folders[0]}: a folder inside a class folder; {remedy}")
    if not inside.pictures:
        there = f", but with {some(inside.others)}" if inside.others else ""
        kinds = ", ".join(images.SUFFIXES)
        raise InputError(f"{where}: a class folder without pictures ({kinds}){there}; fill or remove it")
    return inside


def beside_pictures(where: Path) -> str:
    """Return the remedy for a folder in a class folder that holds pictures, too."""
    return (
        f"if it is a class of its own, move it beside {where.name}/; pictures of class {where.name} lie directly in"
        f" {where}"
    )


def instead_of_pictures(root: Path, part: str, name: str, inside: Listing, layout: Layout) -> str:
    """Return the remedy for a folder that holds folders and no pictures: never one that merges classes unasked."""
    where, there = root / part / name, some(f"{folder}/" for folder in inside.folders)
    _, classes = layout.splits[TRAIN]
    spelling = name.lower() if name.lower() in SPLITS else OTHER_SPELLINGS.get(name.lower())
    if part and name == MASKS:
        return f"if these are masks, they belong into {root / MASKS / part}"
    if spelling and not part:
        return f"if {name}/ is a split, call it {spelling}/"
    if classes == [name] and not part:
        return f"{name}/ holds {there}: are these the classes? give {options_for(root, classes_below(where))}"
    if set(inside.folders) & set(classes):
        return f"{name}/ holds folders named as classes, {there}: if these are masks, call it {root / MASKS}"
    up = f"move them beside {name}/" + ("" if part else f", or give --root {where}")
    same = f"if all are of class {name}, put their pictures into {name}/"
    return f"{name}/ holds {there}: if these are classes, {up}; {same}"


def options_for(root: Path, below: Path) -> str:
    """Return the options for the folder of the classes, with what annotates them beside the root that was too high."""
    options, mirrored = [f"--root {below}"], root / MASKS / below.relative_to(root)
    if is_folder(root / MASKS):
        options.append(f"--masks {mirrored if is_folder(mirrored) else root / MASKS}")
    if is_file(root / BOXES):
        options.append(f"--boxes {root / BOXES}")
    return " ".join(options)


def classes_below(folder: Path) -> Path:
    """Return the first folder, going down where there is one way only, whose folders are classes or splits."""
    for _ in range(DEPTH):
        only = [name for name in peek(folder).folders if name != MASKS]
        if len(only) != 1 or only[0] in SPLITS or peek(folder / only[0]).pictures:
            break
        folder = folder / only[0]
    return folder
