"""READ: what the pixels of a mask mean: brightness or opacity, class numbers, trimaps; how to find that out."""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from PIL import Image

from clp_aug.contract import images
from clp_aug.contract.errors import InputError
from clp_aug.datasets.annotation_words import AUTO, INDEX, TRIMAP

OBJECT, BACKGROUND, BORDER = 1, 2, 3  # numbers of a trimap, as in Oxford-IIIT Pet
HALF = 0.5  # threshold of JPEG masks
EDGE = 128 / 255  # alpha of a border: rounding never drops it from the box
FAINT = 0.2  # a mask that never reaches this shows nothing
VOID = 255  # in 8 bits: no class, as VOC has it around objects
VOID_COLOUR = (224, 224, 192)
VOC_PALETTE = [0, 0, 0, 128, 0, 0, 0, 128, 0]  # the first entries of the palettes of VOC and DAVIS
GREYS = ("1", "L", "P")


@dataclass(frozen=True)
class MaskForm:
    """How to read masks. name: one of MASK_FORMS; objects: numbers of the object in index masks; empty for all numbers
    but 0, and 255 in 8 bits.
    """

    name: str = AUTO
    objects: tuple[int, ...] = ()

    def read(self, data: bytes, where: str) -> np.ndarray:
        """Decode a mask to float32 (H, W) in [0, 1], as stored, at its own size. where: the file, for messages.

        Raises InputError for a file that is no picture, and for values that the form does not have.
        """
        name = self.name
        if name == AUTO and has_class_palette(data):
            name = INDEX
        if name in (INDEX, TRIMAP):
            if is_jpeg(data):
                raise InputError(f"mask {where}: a JPEG, which blurs numbers into others; expected a PNG")
            picture = images.open_picture(data, where)
            return self.of_index(picture, where) if name == INDEX else of_trimap(picture, where)
        alpha = images.read_alpha(data, where)
        return cut(alpha) if self.name == AUTO and is_jpeg(data) else alpha

    def of_index(self, picture: Image.Image, where: str) -> np.ndarray:
        """Return 1 where the number of a pixel is one of the object's, 0 elsewhere: float32 (H, W)."""
        if picture.mode in ("RGB", "RGBA") and not self.objects and not is_grey(picture):
            colours = np.asarray(picture.convert("RGB"))
            return (colours.any(axis=2) & (colours != VOID_COLOUR).any(axis=2)).astype(np.float32)
        numbers = numbers_of(picture, where)
        chosen = np.isin(numbers, self.objects) if self.objects else numbers != 0
        if not self.objects and not picture.mode.startswith("I"):
            chosen &= numbers != VOID
        return chosen.astype(np.float32)


BY_ITSELF = MaskForm()
"""The form is found out from each file."""


def of_trimap(picture: Image.Image, where: str) -> np.ndarray:
    """Return 1 for the object, 128/255 for its border and 0 for the background of a trimap: float32 (H, W).

    Raises InputError for numbers other than 1, 2 and 3.
    """
    numbers = numbers_of(picture, where)
    if not np.isin(numbers, (OBJECT, BACKGROUND, BORDER)).all():
        there = ", ".join(map(str, np.unique(numbers)[:5]))
        raise InputError(f"mask {where}: values {there}; expected in a trimap 1 object, 2 background, 3 border")
    values = np.array([0, 1, 0, EDGE], np.float32)
    alpha: np.ndarray = values[numbers]
    return alpha


def numbers_of(picture: Image.Image, where: str) -> np.ndarray:
    """Return the numbers of a mask, int64 (H, W): from its palette, its grey levels of 8 or 16 bits, or equal channels.

    Raises InputError for colours, which are no numbers.
    """
    if picture.mode in GREYS or picture.mode.startswith("I"):
        return np.asarray(picture).astype(np.int64)
    if picture.mode in ("RGB", "RGBA", "LA") and (picture.mode == "LA" or is_grey(picture)):
        return np.asarray(picture.getchannel(0)).astype(np.int64)
    raise InputError(f"mask {where}: colours ({picture.mode}), no numbers; expected a palette or grey levels")


def is_grey(picture: Image.Image) -> bool:
    """Return whether all colours of an RGB picture are greys."""
    pixels = np.asarray(picture)[:, :, :3]
    return bool((pixels == pixels[:, :, :1]).all())


def cut(alpha: np.ndarray) -> np.ndarray:
    """Return a mask without the artefacts of JPEG: 1 from 0.5 on, or from half of a faint maximum; float32 (H, W)."""
    top = float(alpha.max(initial=0))
    level = HALF if top >= HALF else HALF * top if top >= FAINT else np.inf
    return (alpha >= level).astype(np.float32)


def is_jpeg(data: bytes) -> bool:
    """Return whether a file is a JPEG, whatever its name."""
    return data.startswith(b"\xff\xd8\xff")


def has_class_palette(data: bytes) -> bool:
    """Return whether a file has the palette of class numbers of VOC and DAVIS, and no transparency."""
    with suppress(Exception), images.SILENCE:
        picture = Image.open(io.BytesIO(data), formats=images.formats())
        if picture.mode == "P" and "transparency" not in picture.info:
            palette = picture.getpalette() or []
            return palette[: len(VOC_PALETTE)] == VOC_PALETTE
    return False
