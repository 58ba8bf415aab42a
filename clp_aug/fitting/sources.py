"""Pictures for fitting a matte, from the user's folders.

    DIR/foregrounds/*.png          cut-outs with an alpha channel
    DIR/backgrounds/*              pictures without an object, at least one
    DIR/pictures/*, DIR/masks/*    pictures as taken, each with a PNG mask of the same stem and size
    DIR/boxed/*, DIR/boxed.csv     pictures with only a box: file,x0,y0,x1,y1, half-open pixels

Cut-outs or pictures may be missing, boxed pictures too. A mask is white on the object and may be soft. A mask with only
the values 0, 128 and 255 is a trimap; its grey means unknown.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from clp_aug.common.files import disk_errors
from clp_aug.contract import images
from clp_aug.contract.errors import InputError
from clp_aug.datasets.annotations import read_boxes
from clp_aug.datasets.names import is_file, is_folder
from clp_aug.fitting.composites import Truth

FOREGROUNDS, BACKGROUNDS, PICTURES, MASKS = "foregrounds", "backgrounds", "pictures", "masks"
BOXED, BOXES = "boxed", "boxed.csv"
LAYOUT = f"{FOREGROUNDS}/ (PNG with alpha), {BACKGROUNDS}/, {PICTURES}/ with {MASKS}/"
MAX_SIDE = 512  # larger pictures are shrunk when read: items have 224 pixels
UNKNOWN = 128

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels of the file, half open."""


@dataclass(frozen=True)
class Files(Sequence[Any]):
    """Pictures that are decoded on request. beside: further files about them, such as masks."""

    paths: tuple[Path, ...]
    read: Callable[..., Any]
    beside: tuple[Path, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: Any) -> Any:
        return self.read(self.paths[i])

    def files(self) -> tuple[Path, ...]:
        """Return every file that is read for them."""
        return (*self.paths, *self.beside)


@dataclass(frozen=True)
class Sources:
    """The material of `Composites`, and the number of ignored files that are no pictures."""

    foregrounds: Files
    backgrounds: Files
    naturals: Files
    boxed: Files
    ignored: int


def read_sources(root: Path) -> Sources:
    """Return the pictures under `root`; each file is decoded once, so that a broken one is found early.

    Raises InputError for a missing folder, too few pictures, a picture without its mask or a mask without its
    picture, sizes that differ, a cut-out without transparency, a mask of class numbers, a broken file.
    """
    root = Path(root)
    with disk_errors(root, "read"):
        if not is_folder(root):
            raise InputError(f"{root}: no such folder; expected one with {LAYOUT}")
        listed = {name: picture_files(root / name) for name in (FOREGROUNDS, BACKGROUNDS, PICTURES, MASKS, BOXED)}
    foregrounds, backgrounds, pictures, masks, boxed = (files_of for files_of, _ in listed.values())
    if not backgrounds:
        raise InputError(f"{root / BACKGROUNDS}: no pictures; add at least one without an object")
    if not foregrounds and not pictures:
        raise InputError(f"{root}: neither {FOREGROUNDS}/ nor {PICTURES}/ holds a picture; expected {LAYOUT}")
    of_picture = match_by_stem(root, pictures, masks)
    sources = Sources(
        Files(foregrounds, read_cutout),
        Files(backgrounds, read_picture),
        Files(pictures, functools.partial(read_natural, of_picture), tuple(of_picture[path] for path in pictures)),
        Files(boxed, functools.partial(read_boxed, boxes_of(root, boxed)), (root / BOXES,) if boxed else ()),
        sum(ignored for _, ignored in listed.values()),
    )
    for files in (sources.foregrounds, sources.backgrounds, sources.naturals, sources.boxed):
        for _ in files:
            pass
    return sources


def picture_files(folder: Path) -> tuple[tuple[Path, ...], int]:
    """Return the pictures of a folder by name (none if it is missing), and the number of other files."""
    files = sorted(path for path in folder.iterdir() if is_file(path)) if is_folder(folder) else []
    pictures = tuple(path for path in files if path.suffix.lower() in images.SUFFIXES and path.name[0] != ".")
    return pictures, len(files) - len(pictures)


def bytes_of(path: Path) -> bytes:
    """Return the bytes of a file. Raises InputError if it cannot be read."""
    with disk_errors(path, "read"):
        return path.read_bytes()


def match_by_stem(root: Path, pictures: tuple[Path, ...], masks: tuple[Path, ...]) -> dict[Path, Path]:
    """Return the mask of each picture. Raises InputError unless stems match one to one."""
    by_stem: dict[str, Path] = {}
    for mask in masks:
        if mask.stem in by_stem:
            raise InputError(f"{mask}: {by_stem[mask.stem].name} has the same stem; remove one of them")
        by_stem[mask.stem] = mask
    by_picture_stem: dict[str, Path] = {}
    for picture in pictures:
        if picture.stem in by_picture_stem:
            raise InputError(
                f"{picture}: {by_picture_stem[picture.stem].name} has the same stem; rename one, with its mask"
            )
        if picture.stem not in by_stem:
            raise InputError(f"{picture}: no mask; expected {root / MASKS / picture.stem}.png")
        by_picture_stem[picture.stem] = picture
    for mask in masks:
        if mask.suffix.lower() != ".png":
            raise InputError(f"{mask}: masks must be PNG files, because PNG is lossless; convert it")
        if mask.stem not in by_picture_stem:
            raise InputError(f"{mask}: no picture of this stem in {root / PICTURES}; add it or remove the mask")
    return {picture: by_stem[stem] for stem, picture in by_picture_stem.items()}


def read_picture(path: Path) -> np.ndarray:
    """Return uint8 (h, w, 3) RGB, at most 512 pixels long."""
    picture = images.to_rgb(images.open_picture(bytes_of(path), str(path)), str(path))
    return np.asarray(shrink(picture))


def read_cutout(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return colours, uint8 (h, w, 3), and alpha, float32 (h, w) in [0, 1], of the smallest rectangle around the opaque
    part.

    Raises InputError for a picture without an alpha channel, and for one that is transparent everywhere.
    """
    picture = images.open_picture(bytes_of(path), str(path))
    if picture.mode not in ("RGBA", "LA", "PA") and "transparency" not in picture.info:
        raise InputError(
            f"{path}: no alpha channel; {FOREGROUNDS}/ holds cut-outs; move it to {PICTURES}/ and add a mask"
        )
    pixels = np.asarray(shrink(images.converted(picture, "RGBA", str(path))))
    x, y, w, h = cv2.boundingRect(np.ascontiguousarray(pixels[..., 3]))
    if not w:
        raise InputError(f"{path}: transparent everywhere; remove it")
    pixels = pixels[y : y + h, x : x + w]
    return pixels[..., :3], pixels[..., 3].astype(np.float32) / 255


def read_natural(masks: dict[Path, Path], path: Path) -> Truth:
    """Return a picture with its mask, at most 512 pixels long; weight is 0 on the grey of a trimap.

    Raises InputError if their sizes differ, and for a mask without values above half: class numbers, not alpha.
    """
    picture = images.to_rgb(images.open_picture(bytes_of(path), str(path)), str(path))
    mask = masks[path]
    alpha = images.read_alpha(bytes_of(mask), str(mask))
    if alpha.shape != picture.size[::-1]:
        size = " x ".join(map(str, alpha.shape[::-1]))
        raise InputError(f"{mask}: {size} pixels, its picture has {picture.width} x {picture.height}; save it again")
    if 0 < alpha.max() < 0.5:
        raise InputError(f"{mask}: no value above {round(alpha.max() * 255)}; expected 0 to 255, and 128 where unknown")
    values = np.unique((alpha * 255).round())
    trimap = UNKNOWN in values and set(values) <= {0, UNKNOWN, 255}
    weight = (alpha != np.float32(UNKNOWN / 255)) if trimap else np.ones(alpha.shape, bool)
    small = (np.asarray(shrink(Image.fromarray(part))) for part in (alpha, weight.astype(np.float32)))
    return Truth(np.asarray(shrink(picture)), *small)


def boxes_of(root: Path, pictures: tuple[Path, ...]) -> dict[Path, Box]:
    """Return the box of each boxed picture. Raises InputError for a picture without one, and like `read_boxes`."""
    if not pictures:
        return {}
    names = [path.name for path in pictures]
    rows = read_boxes(names, root / BOXES)
    for row, path in enumerate(pictures):
        if row not in rows:
            raise InputError(f"{path}: no box in {root / BOXES}; add its line or remove it")
    return {pictures[row]: box for row, box in rows.items()}


def read_boxed(boxes: dict[Path, Box], path: Path) -> Truth:
    """Return a picture with only a box, at most 512 pixels long: alpha 1 and weight 0 inside.

    Raises InputError for a box that holds no pixel of the picture.
    """
    picture = images.to_rgb(images.open_picture(bytes_of(path), str(path)), str(path))
    x0, y0, x1, y1 = boxes[path]
    inside = np.zeros(picture.size[::-1], np.float32)
    inside[max(0, math.floor(y0)) : math.ceil(y1), max(0, math.floor(x0)) : math.ceil(x1)] = 1
    if not inside.any():
        raise InputError(f"{path}: its box {boxes[path]} is outside its {picture.width} x {picture.height} pixels")
    alpha = np.asarray(shrink(Image.fromarray(inside)))
    return Truth(np.asarray(shrink(picture)), alpha, 1 - alpha)


def shrink(picture: Image.Image) -> Image.Image:
    """Return the picture with its longer side at most 512 pixels."""
    scale = MAX_SIDE / max(picture.size)
    if scale >= 1:
        return picture
    width, height = (max(1, round(n * scale)) for n in picture.size)
    return picture.resize((width, height), Image.Resampling.BILINEAR)
