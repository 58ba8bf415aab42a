"""The tests of registered fills, mattes and data sets, for plug-ins: call them from your own test.

    from clp_aug.testing import check_fill


    def test_blend():
        check_fill("mine.py:blend")

Each raises AssertionError, with a message, for the first failed property; errors of the plug-in are raised, too.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clp_aug.common.checks import require
from clp_aug.contract.boxes import Box
from clp_aug.contract.schema import COUNTERFACTUAL, FITS
from clp_aug.contract.seeds import rng_for
from clp_aug.datasets import load_dataset
from clp_aug.datasets.base import SPLITS, TRAIN, Dataset
from clp_aug.fills import fill_of, infill
from clp_aug.fills.options import FillOptions
from clp_aug.fills.scene import Materials, Scene
from clp_aug.mattes import make_matte
from clp_aug.mattes.chain import findings_of, read_finding

SIDES = ((12, 15), (1, 1), (1, 5), (5, 1), (32, 32))  # height and width of the scenes for testing fills
SEEDS = 10


def random_scene(seed: int, height: int = 12, width: int = 15, box: Box | None = None, label: int = 0) -> Scene:
    """Return a scene of noise with a random box, or with the given one."""
    rng = np.random.default_rng(seed)
    if box is None:
        x0, y0 = int(rng.integers(width)), int(rng.integers(height))
        box = (x0, y0, int(rng.integers(x0 + 1, width + 1)), int(rng.integers(y0 + 1, height + 1)))
    return Scene(rng.integers(0, 256, (height, width, 3), np.uint8), box, label)


def every_box(height: int, width: int) -> Iterator[Box]:
    """Yield every box of a picture."""
    for x0 in range(width):
        for y0 in range(height):
            yield from ((x0, y0, x1, y1) for x1 in range(x0 + 1, width + 1) for y1 in range(y0 + 1, height + 1))


def partners(label: int, rng: np.random.Generator) -> Iterator[Scene]:
    """Yield one scene of another class."""
    return iter([random_scene(999, box=(1, 5, 6, 9), label=label + 1)])


def check_fill(name: str, options: FillOptions | None = None) -> None:
    """Check a fill in every kind that it serves: noise of several sizes, boxes anywhere.

    The infilling fits its window, all other pixels stay the same, the scene is not changed, and the same key gives the
    same bytes. options: its own settings, by default those of its `Options`. Raises AssertionError.
    """
    for kind in fill_of(name).kinds:
        scenes = [random_scene(seed, *side) for side in SIDES for seed in range(SEEDS)]
        for seed, scene in enumerate([*scenes, *(random_scene(3, 3, 4, box) for box in every_box(3, 4))]):
            check_infilling(name, kind, scene, seed, options)


def check_infilling(name: str, kind: int, scene: Scene, seed: int, options: FillOptions | None = None) -> None:
    """Check the infilling of one scene. kind: counterfactual or factual; seed: of its generator."""
    where = f"fill {name}, {scene.image.shape[1]} x {scene.image.shape[0]} pixels, box {scene.box}, kind {kind}"
    original, materials = scene.image.copy(), Materials(partners)
    (first, used), (again, _) = (
        infill(name, kind, scene, rng_for(0, seed, name), materials, options) for _ in range(2)
    )
    require(bool((scene.image == original).all()), f"{where}: it wrote into the scene's picture; work on a copy")
    require(first.shape == original.shape, f"{where}: it made {first.shape}, expected {original.shape}")
    require(first.dtype == np.uint8, f"{where}: it made {first.dtype}, expected uint8")
    require(bool((first == again).all()), f"{where}: the same key gave two pictures; draw only from `rng`")
    require(used in (name, "grey"), f"{where}: the result has the name {used}")
    if not fill_of(name).everywhere:
        kept = ~scene.causal() if kind == COUNTERFACTUAL else scene.causal()
        require(bool((first[kept] == original[kept]).all()), f"{where}: it changed pixels outside its hole")


@dataclass(frozen=True)
class Shown:
    """A picture for a matte. image: uint8 (size, size, 3); alpha, box: its mask and box."""

    image: np.ndarray
    sample_id: int = 5
    alpha: np.ndarray | None = None
    box: Box | None = None

    @property
    def size(self) -> int:
        """Side in pixels."""
        return len(self.image)


def bright_square(size: int = 64, seed: int = 0) -> Shown:
    """Return a bright square on dark noise, and its mask."""
    image = np.full((size, size, 3), 30, np.uint8)
    image += np.random.default_rng(seed).integers(0, 20, image.shape, np.uint8)
    low, high = 14 * size // 64, 50 * size // 64
    image[low:high, low:high] = 220
    alpha = np.zeros((size, size), np.float32)
    alpha[low:high, low:high] = 1
    return Shown(image, seed, alpha)


def check_matte(name: str) -> None:
    """Check a matte on bright squares, noise and flat pictures of several sizes.

    A finding is a matte in [0, 1], a box or None. It depends only on the picture and does not change it. `find_all`, if
    there is one, finds the same as `find`. Raises AssertionError.
    """
    matte = make_matte(name)
    noise = [Shown(random_scene(1, size, size).image) for size in (8, 33)]
    pictures = [*(bright_square(size, size) for size in (16, 64, 65)), *noise, Shown(np.zeros((64, 64, 3), np.uint8))]
    originals = [picture.image.copy() for picture in pictures]
    forwards = [matte.find(picture) for picture in pictures]
    backwards = [matte.find(picture) for picture in pictures[::-1]][::-1]
    together = findings_of(matte, pictures)
    for picture, original, one, again, all_at_once in zip(
        pictures, originals, forwards, backwards, together, strict=True
    ):
        where = f"matte {name}, {picture.size} pixels a side"
        require(bool((picture.image == original).all()), f"{where}: it wrote into the picture; work on a copy")
        require(same(one, again), f"{where}: a second call found something else")
        require(same(one, all_at_once, 1e-4), f"{where}: find_all and find found different things")
        if one is not None:
            _, seen = read_finding(one, picture.size)
            require(seen.shape == (picture.size, picture.size), f"{where}: its matte cannot be resized")


def same(one: np.ndarray | Box | None, other: np.ndarray | Box | None, tolerance: float = 0) -> bool:
    """Return whether two findings of a matte are the same."""
    if one is None or other is None:
        return one is other
    return np.shape(one) == np.shape(other) and bool(np.allclose(one, other, rtol=0, atol=tolerance, equal_nan=True))


def check_dataset(name: str, root: Path | str | None = None) -> None:
    """Check a data set: pictures are uint8 RGB in every fit and size, with the declared size; it can be pickled for
    worker processes; a second reading gives the same; it has two classes or more and training pictures. Raises
    AssertionError.
    """
    dataset, again = load_dataset(name, root), load_dataset(name, root)
    table = dataset.samples
    require(len(dataset.class_names) >= 2, f"data set {name}: {len(dataset.class_names)} classes, expected at least 2")
    require(
        bool((table.split == TRAIN).any()), f"data set {name}: no training pictures, split 0 of {', '.join(SPLITS)}"
    )
    require(len(set(table.name)) == len(table.name), f"data set {name}: two pictures of one name; names must differ")
    require(dataset.fingerprint() == again.fingerprint(), f"data set {name}: loaded twice, its tables differ")
    pickle.dumps(dataset)  # as for a worker; a deep copy uses the same parts
    copied = copy.deepcopy(dataset)
    require(copied.fingerprint() == dataset.fingerprint(), f"data set {name}: a copy for worker processes differs")
    rows = np.unique(np.linspace(0, len(table.label) - 1, 5).astype(int))
    require(dataset.digest(rows) == again.digest(rows), f"data set {name}: loaded twice, its pictures differ")
    for row in rows.tolist():
        check_pictures(name, row, (dataset, again, copied))


def check_pictures(name: str, row: int, datasets: Iterable[Dataset]) -> None:
    """Check one picture of a data set, read by several copies of the data set."""
    first, *others = datasets
    where, (width, height) = f"data set {name}, picture {first.samples.name[row]}", first.source_size(row)
    whole = first.image(row)
    require(whole.dtype == np.uint8, f"{where}: {whole.dtype}, expected uint8")
    require(whole.shape == (height, width, 3), f"{where}: {whole.shape}, but source_size says {width} x {height}")
    require(all(bool((other.image(row) == whole).all()) for other in others), f"{where}: a second reading differs")
    for fit in FITS:
        for size in (8, 16, 224):
            read = first.image(row, size, fit)
            require(read.shape == (size, size, 3), f"{where}: {read.shape} for size {size}, fit {fit}")
            alpha, box = first.alpha(row, size, fit), first.box(row, size, fit)
            require(alpha is None or alpha.shape == (size, size), f"{where}: its mask is not {size} x {size}")
            inside = box is None or (0 <= box[0] < box[2] <= size and 0 <= box[1] < box[3] <= size)
            require(inside, f"{where}: its box {box} is not inside {size} x {size} pixels")
