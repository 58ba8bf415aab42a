"""Pictures for the measurements, made from the two photographs of the built-in set: JPEGs as large as ImageNet's."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from clp_aug import from_arrays
from clp_aug.contract.seeds import rng_for
from clp_aug.datasets import demo, load_dataset
from clp_aug.datasets.base import Dataset

WIDTH, HEIGHT = 500, 375  # most of ImageNet's pictures, and nearly all of CUB's, which Waterbirds is made of
CLASSES = 2
HELD_OUT = 8
"""Pictures of a folder that go to val and test."""
GRAIN = 14.0  # noise, so that a JPEG is as large as the average one of ImageNet, 110 kB


def scene(number: int) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """Return a window of one photograph with an ellipse of the other in it, uint8 (HEIGHT, WIDTH, 3), and its box."""
    rng = rng_for(0, number, "scale/scene")
    background, body = (
        cv2.resize(demo.photograph(place)[y : y + 225, x : x + 300], (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        for place in (number % 2, 1 - number % 2)
        for y, x in [rng.integers(0, (95, 150))]
    )
    axes, centre = rng.integers(60, 130, 2), (WIDTH // 2 + rng.integers(-60, 60), HEIGHT // 2 + rng.integers(-40, 40))
    alpha = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.ellipse(alpha, tuple(map(int, centre)), tuple(map(int, axes)), float(rng.uniform(0, 180)), 0, 360, 255, -1)
    ys, xs = np.nonzero(alpha)
    picture = np.where(alpha[..., None] > 0, 255 - body // 2, background) + rng.normal(0, GRAIN, (HEIGHT, WIDTH, 3))
    return picture.clip(0, 255).astype(np.uint8), (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)


def make_folder(root: Path, pictures: int) -> Dataset:
    """Write so many JPEGs, quality 90, in class folders, and a table of boxes; return them as a data set."""
    rows = ["file,x0,y0,x1,y1"]
    for number in range(pictures):
        picture, box = scene(number)
        split = "train" if number < pictures - HELD_OUT else "val" if number % 4 < 2 else "test"
        name = f"{split}/class{number % CLASSES}/{number:06d}.jpg"
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=90)
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(file.getvalue())
        rows.append(",".join(map(str, (name, *box))))
    (root / "boxes.csv").write_text("\n".join(rows) + "\n")
    return load_dataset("folder", root)


@cache
def thumbnails(pictures: int = 1000, size: int = 32) -> Dataset:
    """Return the same scenes as an array, uint8 (pictures, size, size, 3), with boxes: as CIFAR is read."""
    left, found, boxes = (WIDTH - HEIGHT) // 2, [], []
    for number in range(pictures):
        picture, box = scene(number)
        middle = picture[:, left : left + HEIGHT]
        found.append(cv2.resize(middle, (size, size), interpolation=cv2.INTER_AREA))
        x0, y0, x1, y1 = np.clip((np.array(box) - [left, 0, left, 0]) * size / HEIGHT, 0, size)
        boxes.append([np.floor(x0), np.floor(y0), np.ceil(x1), np.ceil(y1)])
    labels = np.arange(pictures) % CLASSES
    return from_arrays(np.stack(found), labels, boxes=np.array(boxes), splits=["train"] * pictures)
