"""READ: what a data set is to both tools - a table of samples, and pictures read by row."""

from __future__ import annotations

import hashlib
import math
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clp_aug.contract import images
from clp_aug.contract.boxes import Box
from clp_aug.contract.errors import InputError
from clp_aug.contract.intact import check_picture
from clp_aug.contract.schema import UNKNOWN_GROUP
from clp_aug.datasets.attached import Annotations, Placed, Stored

TRAIN, VAL, TEST = 0, 1, 2
SPLITS = ("train", "val", "test")
NONE: Mapping[str, Any] = {}
MAX_BYTES = 1 << 30  # of a picture's file; the largest picture is smaller even if uncompressed


@dataclass(frozen=True)
class Samples:
    """The table of a data set, one entry per row.

    sample_id: int64, unique, >= 0; label: int64 in [0, C); group: int32, -1 when unknown; split: uint8, 0 train, 1 val,
    2 test, higher numbers for further test splits; name: text for messages and fingerprints, the relative path if there
    is a file.
    """

    sample_id: np.ndarray
    label: np.ndarray
    group: np.ndarray
    split: np.ndarray
    name: Sequence[str]

    @classmethod
    def of(
        cls,
        label: npt.ArrayLike,
        split: npt.ArrayLike,
        name: Sequence[str],
        sample_id: npt.ArrayLike | None = None,
        group: npt.ArrayLike | None = None,
    ) -> Samples:
        """Build the table with the contract's types; ids default to the row number, groups to unknown."""
        n = len(name)
        return cls(
            np.arange(n) if sample_id is None else np.asarray(sample_id, np.int64),
            np.asarray(label, np.int64),
            np.full(n, UNKNOWN_GROUP, np.int32) if group is None else np.asarray(group, np.int32),
            np.asarray(split, np.uint8),
            name,
        )

    def ascending(self, rows: np.ndarray) -> np.ndarray:
        """Return the rows ordered by sample id, int64: an order that no file system or caller can change."""
        rows = np.asarray(rows, np.int64)
        return rows[np.argsort(self.sample_id[rows], kind="stable")]


class Dataset:
    """A table of samples with pictures. Sub-classes say where a picture, its mask and its box come from.

    Attributes: name; class_names; group_names (empty without groups); samples (the table); splits (names, by number);
    protocols: test split -> the name of a measurement on it; a set with protocols is reported with its precision;
    strata: kind -> (names, index of each row), for reports only; remarks: what a user should know about how the set was
    read, a line each; left_out: names of pictures of the whole set that this one leaves out. Objects are cheap to
    pickle: pictures stay on disk, or are made on request. Several threads may read at once.
    """

    splits: tuple[str, ...] = SPLITS
    protocols: Mapping[str, str] = NONE
    strata: Mapping[str, tuple[tuple[str, ...], np.ndarray]] = NONE
    remarks: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    def __init__(self, name: str, class_names: Sequence[str], samples: Samples, group_names: Sequence[str] = ()):
        self.name, self.samples = name, samples
        self.class_names, self.group_names = tuple(class_names), tuple(group_names)
        self.check()

    def check(self) -> None:
        """Raise InputError for a table without pictures, and for invalid ids, labels, groups and splits."""
        ids, label, group = self.samples.sample_id, self.samples.label, self.samples.group
        if not len(ids):
            raise InputError(f"data set {self.name}: no picture found; look at the layout in the README")
        unique, counts = np.unique(ids, return_counts=True)
        if len(unique) != len(ids):
            raise InputError(f"data set {self.name}: id {unique[counts > 1][0]} occurs twice; ids must differ")
        if not (ids.min() >= 0 and label.min() >= 0 and label.max() < len(self.class_names)):
            raise InputError(
                f"data set {self.name}: ids from {ids.min()}, labels {label.min()}..{label.max()};"
                f" expected ids >= 0 and labels 0..{len(self.class_names) - 1}"
            )
        if self.samples.split.max() >= len(self.splits):
            raise InputError(f"data set {self.name}: a split is outside 0..{len(self.splits) - 1}")
        if self.group_names and not (group.min() >= 0 and group.max() < len(self.group_names)):
            raise InputError(f"data set {self.name}: a group is outside 0..{len(self.group_names) - 1}")

    def image(self, row: int, size: int | None = None, fit: str = "crop") -> np.ndarray:
        """Return the picture of a row: uint8 (H, W, 3) RGB, through the fixed resize and crop if size is given."""
        raise NotImplementedError

    def check_picture(self, row: int) -> None:
        """Raise InputError for a picture that cannot be read. Here none: it is generated, or was read before."""

    def alpha(self, row: int, size: int | None = None, fit: str = "crop") -> np.ndarray | None:
        """Return the mask that comes with the picture: float32 (H, W) in [0, 1], or None without one."""
        return None

    def box(self, row: int, size: int | None = None, fit: str = "crop") -> Box | None:
        """Return the box that comes with the picture, mapped through the fixed resize and crop, or None."""
        return None

    @property
    def annotated(self) -> bool:
        """Whether masks or boxes come with the pictures."""
        return False

    def annotations_digest(self) -> str:
        """Return sha256 over the masks and boxes that come with the pictures, or "" without any."""
        return ""

    def source_size(self, row: int) -> tuple[int, int]:
        """Return (width, height) of the picture as stored, from its header alone."""
        raise NotImplementedError

    def digest(self, rows: np.ndarray) -> str:
        """Return sha256, in hexadecimal, over the content of the pictures of some rows, int64 (n,), in their order.

        Their masks and boxes are included, the table is not (it has the fingerprint). Here the content is the pixels.
        Raises InputError for a missing picture or mask.
        """
        digest = hashlib.sha256()
        for row in rows:
            for values in (self.image(row), self.alpha(row)):
                digest.update(repr(None if values is None else (values.shape, values.dtype.str)).encode())
                digest.update(b"" if values is None else np.ascontiguousarray(values).data)
            digest.update(repr(self.box(row)).encode())
        return digest.hexdigest()

    def rows_of(self, sample_ids: np.ndarray) -> np.ndarray:
        """Return the rows of the given ids, int64. Raises InputError for an id that is not in the table."""
        order = np.argsort(self.samples.sample_id, kind="stable")
        at = np.searchsorted(self.samples.sample_id, sample_ids, sorter=order).clip(max=len(order) - 1)
        rows = order[at]
        missing = np.asarray(sample_ids)[self.samples.sample_id[rows] != sample_ids]
        if missing.size:
            raise InputError(f"data set {self.name}: no picture has id {missing[0]}; give the right folder with --root")
        return rows

    def fingerprint(self) -> str:
        """Return sha256 over classes, groups and the whole table; the same data give the same text anywhere."""
        digest = hashlib.sha256(repr((self.name, self.class_names, self.group_names)).encode())
        for column in (self.samples.sample_id, self.samples.label, self.samples.group, self.samples.split):
            digest.update(np.ascontiguousarray(column).tobytes())
        digest.update("\n".join(self.samples.name).encode())
        if self.splits != SPLITS:
            digest.update(repr(self.splits).encode())
        return digest.hexdigest()


class FileDataset(Dataset):
    """A data set of picture files under one root; `samples.name` holds their paths relative to it.

    loose: whether each picture is a separate file, which can be copied and named in a table.
    """

    loose: bool = True

    def __init__(
        self,
        name: str,
        root: Path,
        class_names: Sequence[str],
        samples: Samples,
        group_names: Sequence[str] = (),
        annotations: Annotations | None = None,
    ) -> None:
        super().__init__(name, class_names, samples, group_names)
        self.root, self.annotations = Path(root), annotations or Annotations()

    def path_of(self, row: int) -> Stored:
        """Return the place of a row's picture."""
        return self.root / self.samples.name[row]

    def _place(self, row: int) -> Stored | str:
        """Return `path_of` a row, as text if that is the same: a Path costs as much as reading a small file."""
        name, root = self.samples.name[row], str(self.root)
        if (
            type(self).path_of is not FileDataset.path_of
            or os.sep != "/"
            or root in (".", "/")
            or "//" in name
            or "./" in name
            or name[:1] in ("", "/", ".")
            or name[-1] in "/."
        ):
            return self.path_of(row)
        return f"{root}/{name}"

    def _bytes(self, path: Stored | str, row: int) -> bytes:
        """Return the bytes of a row's file. Raises InputError if the disk refuses, and for no picture file."""
        reason = ""
        try:
            status = os.stat(path) if isinstance(path, str) else path.stat()
            if not stat.S_ISREG(status.st_mode):  # reading a pipe would wait forever
                reason = "it is no file"
            elif status.st_size > MAX_BYTES:
                reason = f"{status.st_size:,} bytes, more than any picture needs"
            elif isinstance(path, str):
                with open(path, "rb", buffering=0) as file:
                    return file.read()
            else:
                return path.read_bytes()
        except (OSError, ValueError) as error:  # ValueError: a name that no file can have
            reason = str(getattr(error, "strerror", None) or error)
        raise InputError(
            f"data set {self.name}: cannot read {path} ({reason}), listed as sample {self.samples.sample_id[row]};"
            " restore it or take it out of the list"
        )

    def image(self, row: int, size: int | None = None, fit: str = "crop") -> np.ndarray:
        path = self._place(row)
        return images.read_rgb(self._bytes(path, row), str(path), size, fit)

    def check_picture(self, row: int) -> None:
        path = self._place(row)
        check_picture(self._bytes(path, row), str(path))

    def digest(self, rows: np.ndarray) -> str:
        """Return sha256 over the bytes of the files, pictures and masks, and over the boxes; see `Dataset.digest`."""
        digest, masks, boxes = hashlib.sha256(), self.annotations.masks, self.annotations.boxes
        for row in map(int, rows):
            for path in (self._place(row), masks.get(row)):
                digest.update(b"-" if path is None else hashlib.sha256(self._bytes(path, row)).digest())
            digest.update(repr(boxes.get(row)).encode())
        return digest.hexdigest()

    def alpha(self, row: int, size: int | None = None, fit: str = "crop") -> np.ndarray | None:
        path = self.annotations.masks.get(row)
        if path is None:
            return None
        picture = self._bytes(self._place(row), row)
        alpha = self.annotations.alpha(row, self.samples.name[row], self._bytes(path, row), picture)
        return alpha if size is None else images.resize_alpha(alpha, size, fit)

    def box(self, row: int, size: int | None = None, fit: str = "crop") -> Box | None:
        placed = self.placed_box(row)
        if placed is None:
            return None
        if size is None:
            x0, y0, x1, y1 = placed.box
            return math.floor(x0), math.floor(y0), math.ceil(x1), math.ceil(y1)
        return images.Geometry.of(placed.frame.width, placed.frame.height, size, fit).map_box(placed.box)

    def placed_box(self, row: int) -> Placed | None:
        """Return the box that comes with the picture, in its pixels as shown, or None; see `Annotations.box`."""
        if row not in self.annotations.boxes:
            return None
        path = self._place(row)
        return self.annotations.box(row, self.samples.name[row], self._bytes(path, row), str(path))

    @property
    def annotated(self) -> bool:
        return bool(self.annotations.masks or self.annotations.boxes)

    def annotations_digest(self) -> str:
        return self.annotations.digest()

    def source_size(self, row: int) -> tuple[int, int]:
        path = self._place(row)
        return images.read_size(self._bytes(path, row), str(path))
