"""READ: find the class folders, by names and by the places of pictures; everything that is ignored is reported.

A folder with pictures in it is a class. `train`, `val` and `test` are splits if they hold class folders, else classes
like any other; `masks` in the root holds masks, in a split it is a class.
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
DEPTH, LOOKED_AT = 5, 5  # folders below and beside that are searched, for a remedy


@dataclass(frozen=True)
class Listing:
    """The content of one folder, names in alphabetical order. hidden: folders; others: hidden files, and files that are
    no pictures.
    """

    folders: list[str] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Layout:
    """The folders of a root. splits: split -> (its folder below the root, "" for the root; its class folders);
    passed_over: ignored files and hidden folders; read_as_classes: folders with the name of a split that are classes;
    masks: the root has masks/.
    """

    splits: dict[int, tuple[str, list[str]]]
    passed_over: list[str]
    read_as_classes: list[str]
    masks: bool


def list_folder(folder: Path) -> Listing:
    """List one folder. Raises InputError for a folder that cannot be read, and for names that are not UTF-8."""
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
    """Return whether an entry is a file, or a link, which may lead to a file later; reading a pipe would never end."""
    return entry.is_symlink() or entry.is_file()


def layout_of(root: Path) -> Layout:
    """Return what the folders in the root are. Raises InputError, with the remedy, if they fit no layout."""
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
    """Return the remedy for pictures directly in the root."""
    here = root.resolve()
    siblings = [name for name in peek(here.parent).folders if name != here.name]
    if not top.folders and any(peek(here.parent / name).pictures for name in siblings[:LOOKED_AT]):
        return f"if {here.name} is one class, give the folder of all classes with --root {here.parent}"
    return "move it into one"


def peek(folder: Path) -> Listing:
    """List a folder that a remedy may name; empty if it cannot be listed."""
    try:
        return list_folder(folder)
    except InputError:
        return Listing()


def check_splits(root: Path, named: dict[str, Listing], flat: list[str], others: list[str]) -> None:
    """Raise InputError unless the folders are train/, maybe val/ and test/, with class folders in them.

    named: the folders with such names; flat: those of `named` with pictures and without folders; others: all other
    folders.
    """
    for name in flat:
        raise InputError(
            f"{root / name / named[name].pictures[0]}: a picture outside a class folder; {name}/ is a split by name,"
            f" so expected {name}/<class>/: sort its pictures, remove it, or rename it if it is a class"
        )
    if "train" not in named:
        raise InputError(f"{root}: there is {next(iter(named))}/ but no train/; expected train/<class>/ with pictures")
    for name in others:
        spelling = OTHER_SPELLINGS.get(name.lower())
        remedy = f"rename it to {spelling}/" if spelling else "move it elsewhere, or rename train/ if it is a class"
        raise InputError(
            f"{root}: beside train/ there is {name}/; expected only train, val, test and {MASKS}; {remedy}"
        )
    for name, inside in named.items():
        for picture in inside.pictures:
            raise InputError(f"{root / name / picture}: a picture outside a class folder; move it into one of {name}/")


def list_class(root: Path, part: str, name: str, layout: Layout) -> Listing:
    """List one class folder. Raises InputError for a folder without pictures, or with folders in it."""
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
        f"if it is a class of its own, move it beside {where.name}/; pictures of class {where.name} belong directly in"
        f" {where}"
    )


def instead_of_pictures(root: Path, part: str, name: str, inside: Listing, layout: Layout) -> str:
    """Return the remedy for a folder with folders and no pictures. It never merges classes unless the user says so."""
    where, there = root / part / name, some(f"{folder}/" for folder in inside.folders)
    _, classes = layout.splits[TRAIN]
    spelling = name.lower() if name.lower() in SPLITS else OTHER_SPELLINGS.get(name.lower())
    if part and name == MASKS:
        return f"if these are masks, move them to {root / MASKS / part}"
    if spelling and not part:
        return f"if {name}/ is a split, rename it to {spelling}/"
    if classes == [name] and not part:
        return f"{name}/ holds {there}: are these the classes? give {options_for(root, classes_below(where))}"
    if set(inside.folders) & set(classes):
        return f"{name}/ holds folders with names of classes, {there}: if these are masks, rename it to {root / MASKS}"
    up = f"move them beside {name}/" + ("" if part else f", or give --root {where}")
    same = f"if all are of class {name}, put their pictures into {name}/"
    return f"{name}/ holds {there}: if these are classes, {up}; {same}"


def options_for(root: Path, below: Path) -> str:
    """Return the options for the folder of the classes, with the masks and boxes of the root, which was too high."""
    options, mirrored = [f"--root {below}"], root / MASKS / below.relative_to(root)
    if is_folder(root / MASKS):
        options.append(f"--masks {mirrored if is_folder(mirrored) else root / MASKS}")
    if is_file(root / BOXES):
        options.append(f"--boxes {root / BOXES}")
    return " ".join(options)


def classes_below(folder: Path) -> Path:
    """Return the first folder that holds classes or splits; go down while there is only one folder."""
    for _ in range(DEPTH):
        only = [name for name in peek(folder).folders if name != MASKS]
        if len(only) != 1 or only[0] in SPLITS or peek(folder / only[0]).pictures:
            break
        folder = folder / only[0]
    return folder
