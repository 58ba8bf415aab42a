"""How good are the mattes and their boxes? Against masks and boxes drawn by people, on pictures nobody was fitted on.

    python benchmarks/box_quality.py --data DIR --held-out DIR [--matte NAME ...] [--pictures 200] [--out FILE]

DIR of --data holds waterbirds_like/ (soft masks), tiny_imagenet100.h5 (64 px, one box a picture) and cifar10_jpeg.h5;
--held-out is held-out/ of experiments/matting/unpack_matting.py: pets with trimaps, people with masks, cut-outs with
true alpha, landscapes without an object. docs/how-to/data.md names their sources. One thread.

Truth is the drawn box, or the smallest rectangle around alpha >= 0.5. `alone` scores the back end's own box, none
counting as 0; `used` scores what a run would use: gates and fallbacks behind it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import h5py
import numpy as np
import torch

from clp_aug import boxing
from clp_aug.contract import boxes, images
from clp_aug.contract.schema import OUTCOMES
from clp_aug.datasets import load_dataset
from clp_aug.fitting.composites import CUTOUT, Composites
from clp_aug.fitting.sources import picture_files, read_cutout, read_picture, read_sources
from clp_aug.mattes import make_chain
from clp_aug.mattes.chain import locate, read_finding

SEED = 0
COMPOSITES = 4  # of each cut-out


@dataclass(frozen=True, eq=False)
class Scored:
    """A picture as a back end sees it, uint8 (size, size, 3), and what is known of it.

    alpha, known: float32 and bool (size, size), or None; box: half-open, or None where there is no object.
    """

    sample_id: int
    image: np.ndarray
    box: tuple[int, int, int, int] | None
    alpha: np.ndarray | None = None
    known: np.ndarray | None = None

    @property
    def size(self) -> int:
        """Side in pixels."""
        return len(self.image)


@dataclass(frozen=True)
class Answered:
    """A back end that was asked already."""

    answer: object
    about: object

    def find(self, picture):
        """Return what it said."""
        return self.answer


def spread(rows, count: int) -> np.ndarray:
    """Return at most `count` of the rows, spread over the whole."""
    rows = np.asarray(rows)
    return rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)]


def packed(path: Path, count: int, rows=None) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (row, picture) of an HDF5 file of JPEGs."""
    with h5py.File(path) as file:
        offset = file["offset"][...]
        for row in spread(np.arange(len(offset) - 1) if rows is None else rows, count):
            yield int(row), images.read_rgb(file["bytes"][offset[row] : offset[row + 1]].tobytes(), f"{path}:{row}")


def with_mask(i: int, image, alpha, known) -> Scored:
    """Return a scored picture whose box is that of its mask."""
    return Scored(i, image, boxing.enclosing_box(alpha >= boxing.THRESHOLD), alpha, known)


def naturals(held_out: Path, start: str, count: int, size: int) -> Iterator[Scored]:
    """Yield pets or people; the grey band of a trimap lies inside the box and is not scored otherwise."""
    files = read_sources(held_out).naturals
    rows = [i for i, path in enumerate(files.paths) if path.name.startswith(start)]
    for i in spread(rows, count):
        picture, alpha, weight = files[int(i)]
        shrunk = (images.resize_alpha(part, size, "crop") for part in (alpha, weight))
        image = images.read_rgb(cv2.imencode(".png", picture[..., ::-1])[1].tobytes(), str(i), size)
        alpha, weight = shrunk
        yield with_mask(int(i), image, alpha, weight > 0.999)


def cutouts(held_out: Path, count: int, size: int) -> Iterator[Scored]:
    """Yield cut-outs over landscapes, each held-out cut-out four times."""
    foregrounds, backgrounds = ([read(path) for path in paths] for read, paths in (
        (read_cutout, picture_files(held_out / "foregrounds")[0]),
        (read_picture, landscapes(held_out)),
    ))  # fmt: skip
    for i in range(min(count, COMPOSITES * len(foregrounds))):
        one = Composites([foregrounds[i % len(foregrounds)]], backgrounds, (), SEED, size)
        image, alpha, weight = one.compose(i, CUTOUT)
        yield with_mask(i, image, alpha, weight > 0)


def landscapes(held_out: Path) -> list[Path]:
    """Return the files of landscapes: backgrounds beside pets and people are left out."""
    return [path for path in picture_files(held_out / "backgrounds")[0] if path.name.startswith("landscape_")]


def empties(held_out: Path, count: int, size: int) -> Iterator[Scored]:
    """Yield landscapes: no object, no box."""
    for i, path in enumerate(spread(landscapes(held_out), count)):
        yield Scored(i, images.read_rgb(path.read_bytes(), str(path), size), None)


def birds(data: Path, count: int, size: int) -> Iterator[Scored]:
    """Yield birds of val and test of waterbirds_like: landscapes of its training split may have been seen."""
    dataset = load_dataset("waterbirds", data / "waterbirds_like")
    for row in spread(np.flatnonzero(dataset.samples.split != 0), count):
        alpha = dataset.alpha(row, size, "crop")
        yield with_mask(int(row), dataset.image(row, size, "crop"), alpha, np.ones(alpha.shape, bool))


def thumbnails(data: Path, count: int) -> Iterator[Scored]:
    """Yield Tiny-ImageNet's validation pictures with their drawn box."""
    path = data / "tiny_imagenet100.h5"
    with h5py.File(path) as file:
        truth, val = file["box_xyxy"][...].astype(int), file["is_val"][...]
    solid = val & (truth[:, 2] > truth[:, 0]) & (truth[:, 3] > truth[:, 1]) & (truth.max(1) <= 64)
    for row, image in packed(path, count, np.flatnonzero(solid)):
        yield Scored(row, image, tuple(truth[row].tolist()))


def mean(values: Iterable, digits: int = 3) -> float | None:
    """Return a rounded mean, None of nothing."""
    values = list(values)
    return round(float(np.mean(values)), digits) if values else None


def score(name: str, pictures: list[Scored], chain: list) -> dict:
    """Return the figures of one matte on one set of pictures with objects."""
    alone, used, fallbacks, inside, overlap, sad, mse, seconds = [], [], [], [], [], [], [], 0.0
    for one in pictures:
        start = time.perf_counter()
        answer = chain[0].find(one)
        seconds += time.perf_counter() - start
        box, matte = read_finding(answer, one.size)
        run = locate(one, [Answered(answer, chain[0].about), *chain[1:]])
        true = np.array(one.box)
        alone.append(0.0 if box is None else float(boxes.iou(np.array(box), true)))
        used.append(float(boxes.iou(np.array(run.box), true)))
        fallbacks.append(run.source != 0)
        if one.alpha is None:
            continue
        solid, found = one.alpha >= boxing.THRESHOLD, matte / np.float32(255)
        if box is not None and not matte.any():  # a back end without a matte: its box
            found = boxes.mask(box, one.size, one.size).astype(np.float32)
        inside.append(solid[boxes.mask(run.box, one.size, one.size)].sum() / solid.sum())
        guess = boxing.foreground(found)
        overlap.append((guess & solid & one.known).sum() / max(((guess | solid) & one.known).sum(), 1))
        error = (found - one.alpha)[one.known]
        sad.append(np.abs(error).sum() / 1000)
        mse.append(np.square(error).mean())
    return {
        "data": name, "size": pictures[0].size, "matte": chain[0].about.name, "pictures": len(pictures),
        "alone_mean": mean(alone), "alone_median": round(float(np.median(alone)), 3),
        "alone_over_half": mean(np.array(alone) >= 0.5), "none": mean(np.array(alone) == 0),
        "used_mean": mean(used), "used_over_half": mean(np.array(used) >= 0.5), "fallbacks": mean(fallbacks),
        "foreground_inside": mean(inside), "mask_iou": mean(overlap), "sad": mean(sad), "mse": mean(mse, 4),
        "ms": round(1000 * seconds / len(pictures), 2),
    }  # fmt: skip


def score_empties(pictures: list[Scored], chain: list) -> dict:
    """Return the share of pictures without an object in which the back end sees none."""
    found = [read_finding(chain[0].find(one), one.size)[0] for one in pictures]
    return {
        "data": "landscapes", "size": pictures[0].size, "matte": chain[0].about.name, "pictures": len(pictures),
        "empties_found": mean(box is None for box in found),
    }  # fmt: skip


def score_usable(data: Path, count: int, chain: list) -> dict:
    """Return what becomes of CIFAR-10's pictures, whose objects nobody boxed, at 32 px."""
    outcomes = []
    for row, image in packed(data / "cifar10_jpeg.h5", count):
        box, _ = read_finding(chain[0].find(Scored(row, image, None)), len(image))
        outcomes.append(boxing.judge(box, *image.shape[:2]))
    shares = {f"outcome_{name}": mean(np.array(outcomes) == i) for i, name in enumerate(OUTCOMES[:-1])}
    return {"data": "cifar10_jpeg", "size": 32, "matte": chain[0].about.name, "pictures": len(outcomes), **shares}


def show(row: dict, columns: list[str]) -> None:
    """Print one line of a Markdown table."""
    print("| " + " | ".join(str(row[name]) for name in columns) + " |", flush=True)


def main() -> None:
    """Score every matte on every set, print tables, store the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--held-out", type=Path, required=True)
    parser.add_argument("--matte", action="append", help="hatt, grabcut, centre, onnx:FILE, hatt:FILE; repeat it")
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    data, held_out, count = arguments.data, arguments.held_out, arguments.pictures
    names = arguments.matte or ["hatt", f"onnx:{data / 'u2netp.onnx'}", "grabcut", "centre"]
    chains = [make_chain(name) for name in names]
    objects = {
        "pets": lambda: naturals(held_out, "pet_", count, 224),
        "people": lambda: naturals(held_out, "human_", count, 224),
        "cut-outs": lambda: cutouts(held_out, count, 224),
        "waterbirds_like": lambda: birds(data, count, 160),
        "tiny_imagenet100": lambda: thumbnails(data, count),
    }
    results = []
    for name, pictures in objects.items():
        pictures = [one for one in pictures() if one.box is not None]
        for chain in chains:
            results.append(score(name, pictures, chain))
            if len(results) == 1:
                columns = list(results[0])
                print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
            show(results[-1], columns)
    nothing = list(empties(held_out, count, 160))
    for score_one in (lambda chain: score_empties(nothing, chain), lambda chain: score_usable(data, count, chain)):
        for chain in chains:
            results.append(score_one(chain))
            print(json.dumps(results[-1]))
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
