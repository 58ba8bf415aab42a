"""How good are the boxes of each matte? Against masks and boxes drawn by people, one thread.

    python benchmarks/box_quality.py --data DIR [--pictures 200] [--out benchmarks/results/box_quality.json]

DIR holds waterbirds_like/ (soft masks), tiny_imagenet100.h5 (64 px, one box a picture) and matting_images.h5 with
matting_masks.h5 (pets with trimaps); docs/data.md names their sources. A picture's truth is its box, or the smallest
rectangle around its mask. Boxes are what a run would use: the back end with its fallbacks behind it.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import cv2
import h5py
import numpy as np

from clp_aug import boxing
from clp_aug.contract import boxes, images
from clp_aug.datasets import load_dataset
from clp_aug.datasets.base import Dataset, Samples
from clp_aug.mattes import make_chain
from clp_aug.mattes.chain import locate
from clp_aug.mattes.view import View


class Packed(Dataset):
    """Pictures in one HDF5 file as JPEG or PNG bytes, with boxes or masks beside them."""

    def __init__(self, name, pictures: Path, rows, truth=None, masks: Path | None = None):
        self.pictures, self.masks, self.truth, self.rows = pictures, masks, truth, rows
        zeros = np.zeros(len(rows), int)
        super().__init__(name, ["any"], Samples.of(zeros, zeros, [str(row) for row in rows]))

    def _bytes(self, path: Path, row: int) -> bytes:
        with h5py.File(path) as file:
            start, stop = file["offset"][self.rows[row] : self.rows[row] + 2]
            return file["bytes"][start:stop].tobytes()

    def image(self, row, size=None, fit="crop"):
        return images.read_rgb(self._bytes(self.pictures, row), str(row), size, fit)

    def box(self, row, size=None, fit="crop"):
        return None if self.truth is None else tuple(map(int, self.truth[row]))

    def alpha(self, row, size=None, fit="crop"):
        if self.masks is None:
            return None
        trimap = np.asarray(images.open_picture(self._bytes(self.masks, row), str(row)).convert("L"))
        return images.resize_alpha((trimap != 2).astype(np.float32), size, fit)  # 2 is background


def data_sets(data: Path, count: int) -> list[tuple[Dataset, int]]:
    """Return the three data sets, `count` pictures each spread over the whole, and the size each is read at."""

    def spread(rows: np.ndarray) -> np.ndarray:
        return np.asarray(rows)[np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)]

    birds = load_dataset("waterbirds", data / "waterbirds_like")
    birds.chosen = spread(np.arange(len(birds.samples.label)))
    with h5py.File(data / "tiny_imagenet100.h5") as file:
        truth = file["box_xyxy"][...].astype(int)
    solid = (truth[:, 2] > truth[:, 0]) & (truth[:, 3] > truth[:, 1]) & (truth.max(1) <= 64)
    rows = spread(np.flatnonzero(solid))
    tiny = Packed("tiny_imagenet100", data / "tiny_imagenet100.h5", rows, truth[rows])
    with h5py.File(data / "matting_images.h5") as file:
        pets = spread(np.flatnonzero([name.startswith(b"pet/") for name in file["name"][...]]))
    pets = Packed("pets", data / "matting_images.h5", pets, masks=data / "matting_masks.h5")
    tiny.chosen, pets.chosen = np.arange(len(tiny.rows)), np.arange(len(pets.rows))
    return [(birds, 160), (tiny, 64), (pets, 224)]


def score(data: Dataset, size: int, matte: str) -> dict:
    """Return the figures of one matte on one data set."""
    chain = make_chain(matte)
    ious, inside, fallbacks, seconds = [], [], 0, 0.0
    for row in data.chosen:
        truth = View(data, row, size, "crop")
        alpha = truth.alpha
        solid = None if alpha is None else alpha >= boxing.THRESHOLD
        box = truth.box if solid is None else boxing.enclosing_box(solid)
        if box is None:
            continue
        view = View(data, row, size, "crop")
        if matte != "given":
            view.image  # noqa: B018  decoding is READ's time, not the matte's
        start = time.perf_counter()
        found = locate(view, chain)
        seconds += time.perf_counter() - start
        ious.append(float(boxes.iou(np.array(found.box), np.array(box))))
        fallbacks += found.source != 0
        if solid is not None:
            inside.append(solid[boxes.mask(found.box, size, size)].sum() / solid.sum())
    return {
        "data": data.name,
        "size": size,
        "matte": chain[0].about.name,
        "pictures": len(ious),
        "box_iou_mean": round(float(np.mean(ious)), 3),
        "box_iou_median": round(float(np.median(ious)), 3),
        "share_iou_over_half": round(float(np.mean(np.array(ious) >= 0.5)), 3),
        "foreground_inside": round(float(np.mean(inside)), 3) if inside else None,
        "fallbacks": round(fallbacks / len(ious), 3),
        "ms_a_picture": round(1000 * seconds / len(ious), 2),
    }


def main() -> None:
    """Score every matte on every data set, print a table, store the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    cv2.setNumThreads(0)
    results = []
    for data, size in data_sets(arguments.data, arguments.pictures):
        for matte in ("given", "grabcut", f"onnx:{arguments.data / 'u2netp.onnx'}", "centre"):
            results.append(score(data, size, matte))
            if len(results) == 1:
                print(" | ".join(results[0]))
            print(" | ".join(str(value) for value in results[-1].values()), flush=True)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
