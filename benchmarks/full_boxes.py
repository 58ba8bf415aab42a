"""What should become of a box over more than 95 % of the picture? Against masks and boxes drawn by people.

    python benchmarks/full_boxes.py --data DIR --matting DIR [--out FILE]

DIR of --data holds tiny_imagenet100.h5 and coco256.h5, that of --matting train/ and held-out/ of
experiments/matting/unpack_matting.py. Answers: the next matte's box; the box as it is; the box around a higher alpha,
the first of 0.51, 0.52 ... that passes the gate; all sides moved in, row by row where the matte is faintest; one side
moved in, which is what `locate` does. Figures: IoU with the true box over the full ones and over all pictures, how many
are worse than the next matte's, the share that leaves a strip to tile with and of object in that strip.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import cv2
import h5py
import numpy as np
import torch
from box_quality import Answered, Scored, mean, naturals, packed

from clp_aug import boxing
from clp_aug.contract import boxes, images
from clp_aug.contract.boxes import Box
from clp_aug.contract.schema import FULL
from clp_aug.mattes import make_chain
from clp_aug.mattes.chain import locate, read_finding

ALL = 1 << 30
SIZE = 224


def thumbnails(data: Path) -> Iterator[Scored]:
    """Yield the validation pictures of Tiny-ImageNet with the drawn box, which may cover all of one."""
    with h5py.File(data / "tiny_imagenet100.h5") as file:
        truth, val = file["box_xyxy"][...].astype(int), file["is_val"][...]
    solid = val & (truth[:, 2] > truth[:, 0]) & (truth[:, 3] > truth[:, 1]) & (truth.max(1) <= 64)
    for row, image in packed(data / "tiny_imagenet100.h5", ALL, np.flatnonzero(solid)):
        yield Scored(row, image, tuple(truth[row].tolist()))


def everyday(data: Path) -> Iterator[Scored]:
    """Yield COCO's pictures, stretched to a square, with the smallest box around all of their objects."""
    path = data / "coco256.h5"
    with h5py.File(path) as file:
        offset, lines = file["offset"][...], [entry.decode().split("\n") for entry in file["boxes_yolo"][...]]
        for i, own in enumerate(lines):
            x, y, w, h = np.array([line.split()[1:] for line in own if line], float).reshape(-1, 4).T
            if len(x):
                truth = np.array([(x - w / 2).min(), (y - h / 2).min(), (x + w / 2).max(), (y + h / 2).max()])
                encoded = file["bytes"][offset[i] : offset[i + 1]].tobytes()
                image = images.read_rgb(encoded, f"{path}:{i}", SIZE, "stretch")
                yield Scored(i, image, tuple((truth * SIZE).round().astype(int).clip(0, SIZE).tolist()))


def passes(box: Box | None, matte: np.ndarray) -> bool:
    """Whether a box is no longer full."""
    return boxing.judge(box, *matte.shape) != FULL


def higher_alpha(box: Box, matte: np.ndarray) -> Box:
    """Return the box around the least alpha above 0.5 that passes the gate; the cut one when no alpha does."""
    for level in np.arange(0.51, 1, 0.01):
        inner = boxing.enclosing_box(boxing.foreground((matte >= 255 * level).astype(np.float32)))
        if inner is not None and passes(inner, matte):
            return inner
    return boxing.cut_to_gate(box, matte) or box


def all_sides(box: Box, matte: np.ndarray) -> Box:
    """Return the box without those of its outer rows and columns where the matte is faintest, until it passes."""
    while not passes(box, matte):
        x0, y0, x1, y1 = box
        smaller = [(x0 + 1, y0, x1, y1), (x0, y0 + 1, x1, y1), (x0, y0, x1 - 1, y1), (x0, y0, x1, y1 - 1)]
        lines = matte[y0:y1, x0], matte[y0, x0:x1], matte[y0:y1, x1 - 1], matte[y1 - 1, x0:x1]
        box = smaller[int(np.argmin([line.mean() for line in lines]))]
    return box


ANSWERS: dict[str, Callable[[Box, np.ndarray], Box]] = {
    "as it is": lambda box, matte: box,
    "around a higher alpha": higher_alpha,
    "all sides moved in": all_sides,
    "one side moved in": lambda box, matte: boxing.cut_to_gate(box, matte) or box,
}


def score(name: str, pictures: Iterator[Scored], chain: list) -> dict:
    """Return the figures of every answer on one set of pictures with objects."""
    full: dict[str, list] = {"next matte": [], **{answer: [] for answer in ANSWERS}}
    others, shown, count = [], [], 0
    for one in pictures:
        if one.box is None:
            continue
        count += 1
        answer = Answered(chain[0].find(one), chain[0].about)
        box, matte = read_finding(answer.answer, one.size)
        if box is None or passes(box, matte):
            others.append(float(boxes.iou(np.array(locate(one, [answer, *chain[1:]]).box), np.array(one.box))))
            continue
        shown.append(one)
        full["next matte"].append(locate(one, chain[1:]).box)
        for kind, change in ANSWERS.items():
            full[kind].append(change(box, matte))
    truth = np.array([one.box for one in shown]).reshape(-1, 4)
    overlaps = {answer: boxes.iou(np.array(found).reshape(-1, 4), truth) for answer, found in full.items()}
    rows = {}
    for kind, found in full.items():
        strips = [boxes.usable_strip(box, one.size, one.size) for box, one in zip(found, shown, strict=True)]
        rows[kind] = {
            "full_iou": mean(overlaps[kind]),
            "iou": mean([*overlaps[kind], *others], 4),
            "worse": int((overlaps[kind] < overlaps["next matte"]).sum()),
            "strips": mean(strip is not None for strip in strips),
            "object_in_strip": mean(object_in_strips(strips, shown)),
        }
    return {"data": name, "pictures": count, "full": len(shown), "answers": rows}


def object_in_strips(strips: list[Box | None], shown: list[Scored]) -> Iterator[float]:
    """Yield the share of object in each strip, where there is one and the truth is a mask."""
    for strip, one in zip(strips, shown, strict=True):
        if strip is not None and one.alpha is not None:
            x0, y0, x1, y1 = strip
            yield float((one.alpha[y0:y1, x0:x1] >= boxing.THRESHOLD).mean())


def main() -> None:
    """Score every answer on every set, print tables, store the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--matting", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    held_out, fitted = arguments.matting / "held-out", arguments.matting / "train"
    sets: dict[str, Callable[[], Iterator[Scored]]] = {
        "pets": partial(naturals, held_out, "pet_", ALL, SIZE),
        "people": partial(naturals, held_out, "human_", ALL, SIZE),
        "pets, 64 px": partial(naturals, held_out, "pet_", ALL, 64),
        "people, 64 px": partial(naturals, held_out, "human_", ALL, 64),
        "pets of the fit": partial(naturals, fitted, "pet_", ALL, SIZE),
        "people of the fit": partial(naturals, fitted, "human_", ALL, SIZE),
        "tiny_imagenet100": partial(thumbnails, arguments.data),
        "coco256": partial(everyday, arguments.data),
    }
    chain, results = make_chain("hatt"), []
    for name, pictures in sets.items():
        results.append(score(name, pictures(), chain))
        print(f"{name}: {results[-1]['full']} of {results[-1]['pictures']} are full")
        for answer, row in results[-1]["answers"].items():
            print(f"  {answer:<22} " + ", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    if arguments.out:
        arguments.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
