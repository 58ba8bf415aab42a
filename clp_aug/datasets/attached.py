"""READ: masks and boxes that come with the pictures of a file data set, and how to read them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Protocol

import numpy as np
from PIL import Image

from clp_aug.contract import images
from clp_aug.contract.errors import InputError
from clp_aug.datasets.annotation_words import SHOWN, STORED
from clp_aug.datasets.frames import Corners, Frame, frame_of
from clp_aug.datasets.mask_forms import BY_ITSELF, MaskForm


class Stored(Protocol):
    """The place of a picture or a mask: the path of a file, or a part of a larger file. str() of it is for messages."""

    @property
    def name(self) -> str: ...
    def stat(self) -> os.stat_result: ...
    def read_bytes(self) -> bytes: ...
    def relative_to(self, folder: Path, /) -> PurePath: ...


@dataclass(frozen=True)
class Reading:
    """How to read masks and boxes. relative: boxes are fractions of the picture's sides; boxes_frame, masks_frame: of
    the picture as `shown`, upright by its EXIF tag, or as `stored`; mask_form: what the pixels of masks mean.
    """

    relative: bool = False
    boxes_frame: str = SHOWN
    masks_frame: str = SHOWN
    mask_form: MaskForm = BY_ITSELF


@dataclass(frozen=True)
class Placed:
    """The box of a picture, in pixels as shown, half open; frame: of its picture; clipped: if the border cut it."""

    box: Corners
    frame: Frame
    clipped: bool


@dataclass(frozen=True)
class Annotations:
    """Masks and boxes that come with pictures. masks: row -> file; boxes: row -> x0, y0, x1, y1, half open, as in their
    file; reading: how to read these; source: the file of the boxes, for messages; places: row -> place of a box in that
    file; sizes: row -> (width, height) of the picture, as that file says; doubt: why the files found in place of masks
    are not read as masks.
    """

    masks: Mapping[int, Stored] = field(default_factory=dict)
    boxes: Mapping[int, Corners] = field(default_factory=dict)
    reading: Reading = Reading()
    source: str = ""
    places: Mapping[int, str] = field(default_factory=dict)
    sizes: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    doubt: str = ""

    def of_rows(self, new_row: Mapping[int, int]) -> Annotations:
        """Return the masks and boxes of some rows only. new_row: old row -> new row."""

        def kept(values: Mapping[int, object]) -> dict[int, object]:
            return {new_row[row]: value for row, value in values.items() if row in new_row}

        columns = {name: kept(getattr(self, name)) for name in ("masks", "boxes", "places", "sizes")}
        return replace(self, **columns)  # type: ignore[arg-type]

    def box(self, row: int, name: str, data: bytes, where: str) -> Placed | None:
        """Return the box of a row, None without one.

        name: of the picture, where: its path, both for messages; data: the bytes of its file. Raises InputError for a
        box more than a pixel outside its picture, and for a box of a picture of another size.
        """
        box = self.boxes.get(row)
        if box is None:
            return None
        frame = frame_of(data, where, self.reading.boxes_frame)
        self.check_size(row, name, data, frame)
        placed = frame.place(box, self.reading.relative)
        if placed is None:
            width, height = frame.size
            raise InputError(
                f"picture {name}: box {box} is not inside its {width} x {height} pixels{self.stands_in(row)};"
                f" expected x0, y0, x1, y1, half open{self.other_frame(box, data, frame)}"
            )
        return Placed(placed[0], frame, placed[1])

    def check_size(self, row: int, name: str, data: bytes, frame: Frame) -> None:
        """Raise InputError if the file of the boxes says another size of the picture: then the boxes do not fit."""
        size = self.sizes.get(row)
        if size in (None, frame.size) or self.reading.relative:
            return
        turned = size == frame.size[::-1] and images.read_turn(data) in images.SIDEWAYS
        other = SHOWN if self.reading.boxes_frame == STORED else STORED
        remedy = f"give --boxes-frame {other}" if turned else "give the boxes of these pictures, or correct the size"
        raise InputError(
            f"picture {name}: {size[0]} x {size[1]} pixels by its boxes' file{self.stands_in(row)}, but"
            f" {frame.size[0]} x {frame.size[1]} here; {remedy}"
        )

    def other_frame(self, box: Corners, data: bytes, frame: Frame) -> str:
        """Return a remedy for a box that would be inside the picture in the other frame, else ""."""
        turn = images.read_turn(data)
        if turn not in images.SIDEWAYS:
            return ""
        stored = self.reading.boxes_frame == STORED
        other = Frame(frame.width, frame.height, None if stored else turn)
        if other.place(box, self.reading.relative) is None:
            return ""
        return f"; it fits the picture as {SHOWN if stored else STORED}: --boxes-frame {SHOWN if stored else STORED}"

    def stands_in(self, row: int) -> str:
        """Return in brackets the place of a row's box in its file, "" if unknown."""
        return f" ({self.source} {self.places[row]})" if row in self.places else ""

    def alpha(self, row: int, name: str, mask: bytes, picture: bytes) -> np.ndarray:
        """Return the mask of a row: float32 (H, W) in [0, 1], upright, at its own size.

        name: of the picture, for messages; mask, picture: the bytes of the two files. Raises InputError for a mask that
        cannot be read or has another shape.
        """
        path = self.masks[row]
        alpha = self.reading.mask_form.read(mask, str(path))
        if self.reading.masks_frame == STORED and (turn := images.read_turn(picture)) is not None:
            alpha = np.asarray(Image.fromarray(alpha).transpose(turn))
        (down, across), (width, height) = alpha.shape, images.read_size(picture, name)
        if abs(across * height - down * width) > max(width, height):  # more than rounding of a smaller mask
            raise InputError(
                f"mask {path}: {across} x {down} pixels, picture {name}: {width} x {height}; expected the same shape"
            )
        return alpha

    def digest(self) -> str:
        """Return sha256 over boxes, and names and sizes of mask files, and how they are read, or "" without any."""
        if not (self.masks or self.boxes):
            return ""
        try:
            masks = sorted((row, path.name, path.stat().st_size) for row, path in self.masks.items())
        except OSError as error:
            raise InputError(f"mask {error.filename}: {error.strerror}; restore it or delete it") from None
        values: tuple[object, ...] = (masks, sorted(self.boxes.items()))
        if self.reading != Reading():
            values += (self.reading,)
        return hashlib.sha256(repr(values).encode()).hexdigest()
