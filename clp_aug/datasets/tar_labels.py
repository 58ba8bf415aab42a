"""READ: the classes of samples in tar files: by label, or by folder if there are no labels."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from clp_aug.contract.errors import InputError
from clp_aug.datasets.lists import NAMES
from clp_aug.datasets.names import check_names, is_file, short_path
from clp_aug.datasets.table_columns import WHOLE, in_order
from clp_aug.datasets.tables import text_of
from clp_aug.datasets.tar_index import RANKS, TEXT, TarIndex
from clp_aug.datasets.tar_patterns import FOLDERS, Tar

CAPTIONS, FEW = 0.5, 20  # more different texts per sample than this, in more samples than this, are captions


@dataclass(frozen=True)
class Labels:
    """number: class of each sample, int64 (n,); names: of the classes, in their order; remarks: a line each."""

    number: np.ndarray
    names: tuple[str, ...]
    remarks: tuple[str, ...] = ()


def labels_of(name: str, root: Path, tars: Sequence[Tar], indexes: Sequence[TarIndex]) -> Labels:
    """Return the classes of all samples: their labels, sorted by size if they are numbers, else as text.

    If labels are numbers and `names.txt` or `classnames.txt` is in the root or beside the first tar, its lines are the
    names of the classes. If no sample has a label and each is in a folder, the folder is its class. Raises InputError
    for samples without a label, for captions in place of labels, and for a label without a name in that file.
    """
    texts = [text for index in indexes for text in index.label]
    remarks: tuple[str, ...] = ()
    if not any(texts):
        texts = [folder_of(sample) for index in indexes for sample in index.name]
        if all(texts):
            remarks = ("no labels in the tars: classes are the folders of the pictures",)
    if not all(texts):
        raise lacking(name, root, tars, indexes, texts)
    if all(map(WHOLE.fullmatch, set(texts))):
        numbers = {text: str(int(text.partition(".")[0])) for text in set(texts)}
        texts = [numbers[text] for text in texts]
    different = in_order(texts)
    check_captions(name, indexes, different)
    check_names(different, "class", root / tars[0].name)
    position = {text: k for k, text in enumerate(different)}
    number = np.array([position[text] for text in texts], np.int64)
    return Labels(number, names_for(root, tars, different, texts), remarks)


def folder_of(sample: str) -> str:
    """Return the folder of a picture in a tar, which may be its class; "" for none, and for the name of a split."""
    folder = PurePosixPath(sample).parent.name
    return "" if folder.lower() in FOLDERS else sys.intern(folder)


def lacking(
    name: str, root: Path, tars: Sequence[Tar], indexes: Sequence[TarIndex], texts: Sequence[str]
) -> InputError:
    """Return the error with the number of samples without a label and the name of the first."""
    row = first = next(row for row, text in enumerate(texts) if not text)
    for tar, index in zip(tars, indexes, strict=True):  # noqa: B007
        if row < len(index.name):
            break
        row -= len(index.name)
    sample = index.name[row] if first is not None else ""
    key = str(PurePosixPath(sample).with_name(PurePosixPath(sample).name.partition(".")[0]))
    count = sum(not text for text in texts)
    return InputError(
        f"data set {name}: {count:,} of {len(texts):,} samples have no label, first {short_path(sample)} in"
        f" {root / tar.name}; expected {short_path(key)}.cls with a number, {short_path(key)}.json with a key label, or"
        " pictures in folders of classes"
    )


def check_captions(name: str, indexes: Sequence[TarIndex], different: Sequence[str]) -> None:
    """Raise InputError for labels from .txt files that are nearly all different."""
    samples = sum(len(index.name) for index in indexes)
    texts = sum(index.rank.count(RANKS[TEXT]) for index in indexes)
    if texts and samples > FEW and len(different) > CAPTIONS * samples:
        raise InputError(
            f"data set {name}: {len(different):,} different labels in {samples:,} samples, {texts:,} from .txt files;"
            " these seem to be captions: write labels as .cls, or as .json with a key label"
        )


def names_for(root: Path, tars: Sequence[Tar], different: Sequence[str], texts: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the classes. Raises InputError for a number without a line in the file of names."""
    places = dict.fromkeys((root, (root / tars[0].name).parent))
    path = next((place / name for place in places for name in NAMES if is_file(place / name)), None)
    if path is None or not all(map(WHOLE.fullmatch, different)):
        return tuple(different)
    lines = text_of(path, "a class name per line").splitlines()
    lines = [line.strip() for line in lines[: max((k + 1 for k, line in enumerate(lines) if line.strip()), default=0)]]
    for text in different:
        if not (0 <= int(text) < len(lines) and lines[int(text)]):
            count = texts.count(text)
            raise InputError(f"{path}: no name for label {text} ({count:,} samples); expected 0..{len(lines) - 1}")
    names = tuple(lines[int(text)] for text in different)
    check_names(names, "class", path)
    return names
