"""Birds to put on other backgrounds: their pictures, class, split, and the source of their masks."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from clp_aug.common.files import disk_errors
from clp_aug.contract import images
from clp_aug.contract.errors import InputError
from clp_aug.datasets.base import SPLITS, TEST
from clp_aug.datasets.masks import match_masks
from clp_aug.datasets.names import LONGEST_PATH, check_names, files_below, is_file, is_folder, leads_out, shown
from clp_aug.datasets.tables import read_table
from clp_aug.datasets.waterbirds import CLASSES, SPECIES_FOLDER

WATER_SPECIES = {
    *("albatross", "auklet", "cormorant", "frigatebird", "fulmar", "gull", "jaeger", "kittiwake", "pelican", "puffin"),
    *("tern", "gadwall", "grebe", "mallard", "merganser", "guillemot", "loon"),
}
"""Seabirds and waterfowl among the species of Caltech-UCSD Birds (Sagawa et al. 2020, appendix)."""
CUB_SPLIT, CUB_LIST = "train_test_split.txt", "images.txt"
GIVEN, ALPHA, MATTE = "given", "alpha", "matte"
LAYOUTS = "layouts: docs/how-to/make-waterbirds.md"


@dataclass(frozen=True)
class Bird:
    """One picture of a bird. name: its path below the folder of birds; split: of the contract, None if it is still to
    be drawn; source: of its mask, one of GIVEN (the file `mask`), ALPHA (its own alpha channel), MATTE (computed
    later).
    """

    path: Path
    name: str
    label: int
    split: int | None
    source: str
    mask: Path | None = None


def read_birds(folder: Path, classes: Path | None, masks: Path | None, matte: bool) -> tuple[list[Bird], int]:
    """Return the birds in the order of their names, and the number of byte-identical copies that were left out.

    folder: of pictures at any depth, or CUB_200_2011 with its lists; classes: table with the columns file, class and
    optionally split; by default folders give the class: landbird/, waterbird/, or CUB's species; masks: PNG files with
    the names of the pictures; matte: whether a matte will be computed for pictures without a mask. Raises InputError
    for a bird without class or mask. Source: ours, after the construction of Sagawa et al. (2020).
    """
    folder, lists = cub_layout(folder)
    if classes is None:
        names = [path.relative_to(folder).as_posix() for path in pictures_under(folder, "--birds")]
        label = {name: class_of_folders(name, folder) for name in names}
        split = {} if lists is None else cub_split(lists)
        if lists is not None:
            check_known(names, split, lists / CUB_LIST)
    else:
        label, split = read_classes(classes, folder)
        names = sorted(label)
    kept = first_copies([folder / name for name in names])
    given = {} if masks is None else match_masks(names, masks)
    birds, bare = [], []
    for row in kept:
        name, path = names[row], folder / names[row]
        source = GIVEN if row in given else ALPHA if has_alpha(path) else MATTE
        birds.append(Bird(path, name, label[name], split.get(name), source, given.get(row)))
        if source == MATTE and not matte:
            bare.append(name)
    if bare:
        raise InputError(
            f"{folder}: {len(bare):,} of {len(birds):,} birds have no mask, first {bare[0]}; give --masks DIR (PNG"
            f" files with the names of the pictures; for CUB its segmentations), cut-outs with an alpha channel, or"
            f" --matte hatt; {LAYOUTS}"
        )
    return birds, len(names) - len(kept)


def pictures_under(folder: Path, option: str) -> list[Path]:
    """Return the pictures below a folder, without hidden ones, in the order of their paths.

    Raises InputError for a missing folder or a folder without pictures.
    """
    if not is_folder(folder):
        raise InputError(f"{option} {folder}: no such folder; {LAYOUTS}")
    paths = [
        path
        for path in files_below(folder)
        if path.suffix.lower() in images.SUFFIXES and not any(part[0] == "." for part in path.relative_to(folder).parts)
    ]
    if not paths:
        raise InputError(f"{option} {folder}: no picture in it ({', '.join(images.SUFFIXES)}); {LAYOUTS}")
    check_names((path.relative_to(folder).as_posix() for path in paths), "picture", folder, LONGEST_PATH)
    return paths


def cub_layout(folder: Path) -> tuple[Path, Path | None]:
    """Return the folder of the pictures, and the folder of CUB's lists (None for other sets of birds)."""
    for lists, pictures in ((folder, folder / "images"), (folder.parent, folder)):
        if is_file(lists / CUB_LIST) and is_file(lists / CUB_SPLIT) and pictures == lists / "images":
            return pictures, lists
    return folder, None


def cub_split(lists: Path) -> dict[str, int | None]:
    """Return picture -> TEST, or None for CUB's training pictures: some of them become val.

    Raises InputError for lists that contradict each other.
    """
    columns = {}
    for file in (CUB_LIST, CUB_SPLIT):
        lines = bytes_of(lists / file).decode("utf-8", "replace").split("\n")
        entries = [line.split(" ") for line in lines if line]
        wrong = [line for line, entry in enumerate(entries, 1) if len(entry) != 2]
        if wrong:
            raise InputError(f"{lists / file} line {wrong[0]}: expected a number and a value; unpack CUB again")
        columns[file] = dict(entries)
    if columns[CUB_LIST].keys() != columns[CUB_SPLIT].keys():
        raise InputError(f"{lists / CUB_SPLIT}: it does not list the pictures of {CUB_LIST}; unpack CUB again")
    return {name: None if columns[CUB_SPLIT][i] == "1" else TEST for i, name in columns[CUB_LIST].items()}


def check_known(names: Sequence[str], split: dict[str, int | None], path: Path) -> None:
    """Raise InputError if CUB's list and the pictures differ."""
    lost, strange = sorted(split.keys() - set(names)), sorted(set(names) - split.keys())
    if lost or strange:
        raise InputError(
            f"{path}: {len(lost):,} pictures of the list are missing and {len(strange):,} are not in it, first"
            f" {(lost + strange)[0]}; unpack CUB again, or give a part of it with --classes FILE.csv"
        )


def class_of_folders(name: str, folder: Path) -> int:
    """Return the class of a picture by its folders. Raises InputError if they do not give one."""
    parts = name.split("/")[:-1]
    labels = [CLASSES.index(part.lower()) for part in parts if part.lower() in CLASSES]
    if len(labels) == 1:
        return labels[0]
    if not labels and SPECIES_FOLDER.fullmatch("/".join(name.split("/")[-2:])):
        words = re.split(r"[._]", parts[-1].lower())
        return int(not WATER_SPECIES.isdisjoint(words))
    raise InputError(
        f"picture {folder / name}: its folders do not say whether it is a landbird or a waterbird; expected a folder"
        f" {' or '.join(CLASSES)}, a species of CUB (001.Black_footed_Albatross), or --classes FILE.csv; {LAYOUTS}"
    )


def read_classes(path: Path, folder: Path) -> tuple[dict[str, int], dict[str, int | None]]:
    """Read the table of birds: picture -> label, and picture -> split if there is such a column.

    Raises InputError, with file and line, for an unknown class or split, and for a picture that is missing or occurs
    twice.
    """
    label: dict[str, int] = {}
    split: dict[str, int | None] = {}
    for line, entry in read_table(path, ("file", "class")):
        name = entry["file"]
        if name in label:
            raise InputError(f"{path} line {line}: {name} is in the table already; list a picture once")
        if entry["class"] not in CLASSES:
            raise InputError(f"{path} line {line}: class is {entry['class']!r}; expected {' or '.join(CLASSES)}")
        if leads_out(name):
            raise InputError(f"{path} line {line}: {shown(name)} leads out of --birds; give a path below it")
        if not is_file(folder / name):
            raise InputError(f"{path} line {line}: no picture {folder / name}; paths are relative to --birds")
        label[name] = CLASSES.index(entry["class"])
        if "split" in entry:
            if entry["split"] not in SPLITS:
                raise InputError(f"{path} line {line}: split is {entry['split']!r}; expected {', '.join(SPLITS)}")
            split[name] = SPLITS.index(entry["split"])
    return label, split


def bytes_of(path: Path) -> bytes:
    """Return the bytes of a file. Raises InputError if it cannot be read."""
    with disk_errors(path, "read"):
        return path.read_bytes()


def size_of(path: Path) -> int:
    """Return the size of a file in bytes. Raises InputError if it cannot be read."""
    with disk_errors(path, "read"):
        return path.stat().st_size


def has_alpha(path: Path) -> bool:
    """Return whether a picture is a cut-out, from its header. Broken files are found later, when they are decoded."""
    with suppress(Exception), warnings.catch_warnings():  # decoders may raise anything
        warnings.simplefilter("ignore")
        with Image.open(path, formats=images.formats()) as picture:
            return picture.mode in images.TRANSPARENT or "transparency" in picture.info
    return False


def first_copies(paths: Sequence[Path]) -> list[int]:
    """Return the rows without copies (files with the bytes of an earlier one): a copy could be in train and in test."""
    sizes = [size_of(path) for path in paths]
    common = {size for size, count in Counter(sizes).items() if count > 1}
    digests: dict[int, set[bytes]] = defaultdict(set)
    kept = []
    for row, (path, size) in enumerate(zip(paths, sizes, strict=True)):
        if size in common:
            digest = hashlib.sha256(bytes_of(path)).digest()
            if digest in digests[size]:
                continue
            digests[size].add(digest)
        kept.append(row)
    return kept
