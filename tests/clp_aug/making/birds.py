"""Tiny birds and places to make a set of."""

import csv

import numpy as np
from PIL import Image

from clp_aug.making.waterbirds_config import WaterbirdsConfig

BIRD, SIZE = (250, 40, 40), (12, 10)  # colour; width and height in pixels


def save_bird(root, name, seed, masks=None, alpha=False):
    """Write a picture with a red rectangle on grey noise, its mask below another folder, or with alpha instead."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(100, 160, (SIZE[1], SIZE[0], 3), np.uint8)
    mask = np.zeros(SIZE[::-1], np.uint8)
    mask[2:8, 3:9] = 255
    pixels[mask > 0] = BIRD
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if alpha:
        pixels = np.dstack([pixels, mask])
    Image.fromarray(pixels).save(path)
    if masks is not None:
        below = (masks / name).with_suffix(".png")
        below.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(below)


def save_place(path, seed, colour):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((14, 14, 3), colour, np.uint8)
    pixels[0, 0] = seed  # no two files alike
    Image.fromarray(pixels).save(path)


def settings(root, **others):
    given = {
        "birds": root / "birds", "masks": root / "masks", "land": (root / "land",), "water": (root / "water",),
        "out": root / "set", "confounding": 0.75, "shares": (12, 4, 4),
    }  # fmt: skip
    return WaterbirdsConfig(**given | others)


def table(root):
    with open(root / "metadata.csv", newline="") as file:
        return list(csv.DictReader(file))


def contents(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
