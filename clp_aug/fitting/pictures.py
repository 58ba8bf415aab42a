"""Pictures for fitting the inpainter: square windows of all pictures below the user's folder, each with a hole.

Item i of a size is a pure function of the seed and i: no order, no state. Source: holes as in Yu et al., CVPR 2018, one
rectangle per picture; their sizes and places are ours, like the boxes of objects.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clp_aug.contract import boxes, images
from clp_aug.contract.errors import InputError
from clp_aug.contract.seeds import rng_for
from clp_aug.datasets.names import files_below, is_folder
from clp_aug.fitting.composites import maybe_mirror, resized, window
from clp_aug.fitting.sources import read_picture

AREA = (0.05, 0.60)  # fraction of the picture that a hole covers
ASPECT = 0.7  # |log(width / height)| is at most this
AT_BORDER = 0.25  # share of holes at a border of the picture, like boxes of cut-off objects


@dataclass(frozen=True)
class Pictures:
    """Files, their shorter sides in pixels, and the number of ignored files."""

    paths: tuple[Path, ...]
    sides: np.ndarray
    ignored: int = 0

    def __len__(self) -> int:
        return len(self.paths)

    def part(self, rows: np.ndarray) -> Pictures:
        """Return some of them."""
        return Pictures(tuple(self.paths[row] for row in rows), self.sides[rows])


def read_pictures(root: Path) -> Pictures:
    """Return every picture under `root`, in the order of their paths; each is decoded once, so that a broken one is
    found early. Raises InputError for a missing folder, a folder with fewer than two pictures, or a broken file.
    """
    if not is_folder(root):
        raise InputError(f"{root}: no such folder; expected one with pictures, at any depth")
    files = files_below(root)
    paths = tuple(path for path in files if path.suffix.lower() in images.SUFFIXES and path.name[0] != ".")
    if len(paths) < 2:
        raise InputError(f"{root}: {len(paths)} pictures; expected 2 or more, at any depth")
    sides = np.array([min(read_picture(path).shape[:2]) for path in paths])
    return Pictures(paths, sides, len(files) - len(paths))


@dataclass(frozen=True, eq=False)
class Windows:
    """Endless windows with holes, from pictures that are at least as large; from all pictures if none is."""

    pictures: Pictures
    seed: int

    def item(self, index: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Return picture, uint8 (size, size, 3) RGB, and hole, bool (size, size), True for pixels to fill."""
        rng = rng_for(self.seed, index, "window")
        large = np.flatnonzero(self.pictures.sides >= size)
        rows = large if len(large) else np.arange(len(self.pictures))
        picture = read_picture(self.pictures.paths[int(rng.choice(rows))])
        shorter = min(picture.shape[:2])
        side = int(rng.integers(min(size, shorter), shorter + 1))
        cut = maybe_mirror(window(picture.shape, side, side, rng), rng)(picture)
        return resized(cut, size, size), boxes.mask(hole(size, rng), size, size)


def hole(size: int, rng: np.random.Generator) -> boxes.Box:
    """Return a random box of 5 to 60 % of the area, at least one pixel smaller than the picture in width and height."""
    area, aspect = rng.uniform(*AREA), float(np.exp(rng.uniform(-ASPECT, ASPECT)))
    width, height = (
        int(np.clip(round(n * size), 1, size - 1)) for n in (np.sqrt(area * aspect), np.sqrt(area / aspect))
    )
    x, y = int(rng.integers(size - width + 1)), int(rng.integers(size - height + 1))
    if rng.random() < AT_BORDER:
        x, y = ((0, y), (size - width, y), (x, 0), (x, size - height))[int(rng.integers(4))]
    return x, y, x + width, y + height
