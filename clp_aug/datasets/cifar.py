"""READ CIFAR: the published python batches, read without executing their pickles, or class folders.

Source of the layout: the data set's page (Krizhevsky 2009). A batch is a dict with "data", uint8 (n, 3072), whose rows
hold 1024 red, 1024 green and 1024 blue values in row-major order, and a list of n labels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from clp_aug.contract.errors import InputError
from clp_aug.contract.images import Geometry
from clp_aug.datasets import folder
from clp_aug.datasets.base import TEST, TRAIN, VAL, Dataset, Samples
from clp_aug.datasets.inert_pickle import Inert, Span, parse
from clp_aug.datasets.names import check_names, is_file, is_folder, shown

SIDE = 32
PIXELS = 3 * SIDE * SIDE


@dataclass(frozen=True)
class Layout:
    """The layout of one published set: files by split, the file of names, and the keys in them."""

    name: str
    folder: str
    archive: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    meta: str
    names_key: str
    label_key: str
    classes: int


@dataclass(frozen=True)
class Batch:
    """The place of the pixels of one batch: file, byte offset, number of pictures, and "C" or "F" order in the file."""

    path: Path
    offset: int
    count: int
    order: Literal["C", "F"]

    def pixels(self, indices: np.ndarray) -> np.ndarray:
        """Read some pictures, int64 (n,): uint8 (n, 3072). Raises InputError if the file is missing or cut short."""
        try:
            shape = (self.count, PIXELS)
            rows = np.memmap(self.path, np.uint8, "r", self.offset, shape, self.order)[indices]
        except (OSError, ValueError) as error:
            raise InputError(f"cannot read picture {indices[0]} of {self.path} ({error}); restore the file") from None
        return np.ascontiguousarray(rows).view(np.ndarray)

    def picture(self, index: int) -> np.ndarray:
        """Read one picture: uint8 (32, 32, 3) RGB. Raises InputError if the file is missing or cut short."""
        return np.ascontiguousarray(self.pixels(np.array([index])).reshape(3, SIDE, SIDE).transpose(1, 2, 0))


class CifarBatches(Dataset):
    """Pictures inside batch files; ids are positions, training batches first. Holds no pixels: cheap to pickle."""

    def __init__(self, name: str, class_names: Sequence[str], samples: Samples, batches: list[Batch]) -> None:
        super().__init__(name, class_names, samples)
        self.batches = batches
        self.start = np.cumsum([0] + [batch.count for batch in batches])

    def image(self, row: int, size: int | None = None, fit: str = "crop") -> np.ndarray:
        at = int(np.searchsorted(self.start, row, side="right")) - 1
        picture = self.batches[at].picture(int(row - self.start[at]))
        if size is None or size == SIDE:
            return picture
        return np.asarray(Geometry.of(SIDE, SIDE, size, fit).apply(Image.fromarray(picture)))

    def digest(self, rows: np.ndarray) -> str:
        """Return sha256 over the pixels as the batches hold them; see `Dataset.digest`."""
        digest, at = hashlib.sha256(), np.searchsorted(self.start, rows, side="right") - 1
        for part in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(at)) + 1):  # runs of rows of one batch
            for batch in at[part[:1]]:
                digest.update(self.batches[batch].pixels(rows[part] - self.start[batch]).data)
        return digest.hexdigest()

    def source_size(self, row: int) -> tuple[int, int]:
        return SIDE, SIDE


def load(layout: Layout, root: Path) -> Dataset:
    """Return the set under `root`: batch files in it or in their published folder, or folders train/ and test/.

    There is no val split. Raises InputError that says what is missing or wrong.
    """
    root = Path(root)
    place = root / layout.folder if is_folder(root / layout.folder) else root
    files = (*layout.train, *layout.test, layout.meta)
    missing = [file for file in files if not is_file(place / file)]
    if not missing:
        return _load_batches(layout, place)
    if is_folder(root / "train") and is_folder(root / "test"):
        return _load_folders(layout, root)
    lacks = f"lacks {', '.join(missing)}; expected" if len(missing) < len(files) else "has neither"
    raise InputError(
        f"data set {layout.name}: {place} {lacks} the files of {layout.folder} (unpack {layout.archive}),"
        " or train/<class>/ and test/<class>/ with pictures"
    )


def _load_batches(layout: Layout, place: Path) -> CifarBatches:
    class_names = _list_of(str, parse(place / layout.meta), layout.names_key, place / layout.meta)
    if len(class_names) != layout.classes:
        raise InputError(
            f"{place / layout.meta}: {len(class_names)} class names in {layout.names_key!r}; expected {layout.classes}"
        )
    check_names(class_names, "class", place / layout.meta)
    batches, label, split, names = [], [], [], []
    for which, file in [(TRAIN, file) for file in layout.train] + [(TEST, file) for file in layout.test]:
        content = parse(place / file)
        labels = _list_of(int, content, layout.label_key, place / file)
        wrong = [value for value in labels if not 0 <= value < layout.classes]
        if wrong:
            raise InputError(f"{place / file}: label {shown(wrong[0])}; expected 0..{layout.classes - 1}")
        batches.append(_batch(content, len(labels), place / file))
        label += labels
        split += [which] * len(labels)
        names += [f"{file}:{index}" for index in range(len(labels))]
    return CifarBatches(layout.name, class_names, Samples.of(label, split, names), batches)


def _load_folders(layout: Layout, root: Path) -> Dataset:
    dataset = folder.load(root, layout.name, hold_out=False)
    if len(dataset.class_names) != layout.classes:
        raise InputError(f"{root / 'train'}: {len(dataset.class_names)} class folders; expected {layout.classes}")
    if (dataset.samples.split == VAL).any():
        raise InputError(f"{root / 'val'}: {layout.name} has no val split; remove the folder, or use --dataset folder")
    return dataset


def _list_of(kind: type, content: object, key: str, path: Path) -> list[Any]:
    """Return a list of `kind` from a parsed file."""
    values = content.get(key) if isinstance(content, dict) else None
    if not isinstance(values, list) or not all(type(value) is kind for value in values):
        raise InputError(f"{path}: no list {key!r} of {kind.__name__} values; expected a published batch file")
    return values


def _batch(content: object, count: int, path: Path) -> Batch:
    """Find the pixels of a parsed batch file and check their length against the number of labels."""
    order: Literal["C", "F"]
    match content:
        case {"data": Inert(state=(_, _, _, bool(fortran), Span() as span))}:  # as numpy pickles up to protocol 4
            order = "F" if fortran else "C"
        case {"data": Inert(args=(Span() as span, _, _, ("C" | "F") as order))}:  # protocol 5
            pass
        case _:
            raise InputError(f"{path}: no array 'data'; expected a published batch file")
    if count == 0 or span.length != count * PIXELS:
        raise InputError(
            f"{path}: {span.length:,} bytes of pixels for {count:,} labels; expected {PIXELS:,} per label"
            " (32 x 32 x 3); download it again"
        )
    return Batch(path, span.offset, count, order)
