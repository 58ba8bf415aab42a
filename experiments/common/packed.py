"""Packed pictures: containers whose rows are the bytes of one file each, and which of them are behind a tested bird."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import h5py
import numpy as np

TRAIN, HELD_OUT = "train", "held-out"
SAME_PLACE = 6.0  # mean difference of two landscapes' thumbnails: the same one has under 2, others over 12


class Packed:
    """One container: row i is the bytes of one JPEG or PNG."""

    def __init__(self, path: Path) -> None:
        with h5py.File(path) as file:
            self.columns = {name: file[name][...] for name in file}
        self.names = [name.decode() for name in self.columns.get("name", [])]

    def __len__(self) -> int:
        return len(self.columns["offset"]) - 1

    def bytes_of(self, row: int) -> bytes:
        start, stop = self.columns["offset"][row : row + 2]
        return self.columns["bytes"][start:stop].tobytes()

    def pixels(self, row: int, flags: int = cv2.IMREAD_UNCHANGED) -> np.ndarray:
        """uint8 (H, W[, C]), channels in OpenCV's order."""
        return cv2.imdecode(self.columns["bytes"][slice(*self.columns["offset"][row : row + 2])], flags)


def thumbnails(packed: Packed, rows, side: int) -> np.ndarray:
    """Return float32 (n, side, side, 3)."""
    small = [cv2.resize(packed.pixels(r, cv2.IMREAD_COLOR), (side, side), interpolation=cv2.INTER_AREA) for r in rows]
    return np.asarray(small, np.float32).reshape(-1, side, side, 3)


def places_behind_tests(landscapes: Packed, waterbirds: Path) -> np.ndarray:
    """Return which landscapes stand behind a bird in val or test, bool (n,): they differ little outside its mask."""
    known, seen, done = thumbnails(landscapes, range(len(landscapes)), 32), np.zeros(len(landscapes), bool), set()
    with open(waterbirds / "metadata.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] != "0"]
    for row in rows:
        mask = cv2.imread(str(waterbirds / "masks" / Path(row["img_filename"]).with_suffix(".png").name), 0)
        picture = cv2.imread(str(waterbirds / row["img_filename"]))
        free = cv2.resize(cv2.dilate(mask, np.ones((9, 9))), (32, 32), interpolation=cv2.INTER_AREA) < 2
        if row["place_filename"] in done or free.mean() < 0.2:  # another picture of the place may show more
            continue
        done.add(row["place_filename"])
        small = cv2.resize(picture, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
        seen |= np.abs(known[:, free] - small[free]).mean((1, 2)) < SAME_PLACE
    return seen


def suffix(data: bytes) -> str:
    """Return the file ending of a JPEG or PNG."""
    return ".png" if data.startswith(b"\x89P") else ".jpg"
