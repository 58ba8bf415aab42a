"""READ, MATTE, BOX, INFILL and SHARD, a picture at a time, and the whole of clp-augment beside their sum."""

from __future__ import annotations

import pickle
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clp_aug import boxing, pipeline
from clp_aug.checking import Look
from clp_aug.config import AugmentConfig
from clp_aug.contract.blank import Blank, lay_out
from clp_aug.contract.boxes import Box
from clp_aug.contract.schema import COUNTERFACTUAL, FACTUAL, FIELDS
from clp_aug.contract.seeds import rng_for
from clp_aug.contract.shards import ShardReader
from clp_aug.datasets.base import Dataset
from clp_aug.engines import quiet_threads
from clp_aug.fills import infill
from clp_aug.fills.scene import Materials, Scene
from clp_aug.mattes import make_matte
from clp_aug.mattes.chain import read_finding, usable_box
from clp_aug.mattes.hatt import HattMatte
from clp_aug.mattes.picture import Decoded
from clp_aug.nets.hatt_lite import load
from clp_aug.stages import DIGEST_LETTERS
from experiments.scale.asking import asked
from experiments.scale.made import CLASSES, HELD_OUT, make_folder, thumbnails
from experiments.scale.timing import ROUNDS, Cost, cost, cost_of

SIZES = (32, 224)
MATTES = ("given", "grabcut", "hatt")
FILLS = (("tile", COUNTERFACTUAL), ("cagan", COUNTERFACTUAL), ("random", FACTUAL), ("mix-rand", FACTUAL))
FEW, SEVERAL, MANY = 16, 64, 1000  # pictures for what takes long, for most, and for the whole
ORIGINALS = MANY - HELD_OUT - 2 * CLASSES  # of the whole: all training pictures but two a class
ROWS_EACH = 3  # an original, a counterfactual, a factual
THUMBNAILS = "experiments.scale.made:thumbnails"
OF_WHOLE = ("CHECK", "READ", "DIGEST", "MATTE given", "INFILL tile", "INFILL random", "SHARD fill", "SHARD rest")
"""What the whole of `whole_flow` does to an original: a box that comes with a picture needs no READ and no BOX."""


def measure(place: Path, size: int) -> dict[str, Any]:
    """Return what each stage costs at a size, and how many bytes a picture is. place: an empty folder."""
    quiet_threads()
    name = "folder" if size > min(SIZES) else THUMBNAILS
    dataset = make_folder(place / "pictures", MANY) if name == "folder" else thumbnails()
    rows = range(SEVERAL)
    images = [dataset.image(row, size, "crop") for row in rows]
    boxes = [box for row in rows if (box := dataset.box(row, size, "crop")) is not None]
    found: dict[str, Any] = {
        "CHECK": cost(lambda: Look(np.arange(SEVERAL)).at(dataset), SEVERAL),
        "READ": cost(lambda: [dataset.image(row, size, "crop") for row in rows], SEVERAL),
        "DIGEST": cost(lambda: [dataset.digest(np.array([row])) for row in rows], SEVERAL),
    }
    pictures = [Decoded(image, row, box=box) for row, (image, box) in enumerate(zip(images, boxes, strict=True))]
    spreads: dict[str, float] = {}
    for matte in MATTES:
        few = pictures[: FEW if matte == "hatt" else SEVERAL]
        found[f"MATTE {matte}"], spreads[f"MATTE {matte}"] = one_by_one(make_matte(matte).find, few)
    found["BOX"] = box_cost(pictures[:FEW])
    scenes = [Scene(image, box, row % CLASSES) for row, (image, box) in enumerate(zip(images, boxes, strict=True))]
    for fill, kind in FILLS:
        few_scenes = scenes[: FEW if fill == "cagan" else SEVERAL]
        found[f"INFILL {fill}"], spreads[f"INFILL {fill}"] = one_by_one(
            filling(fill, kind, dataset, scenes), few_scenes
        )
    shard = place / "whole.h5"
    whole = whole_flow(config_of(name, place, size, shard))
    found |= {"SHARD fill": fill_cost(place / "blank.h5", shard, images), "SHARD rest": whole.pop("rest")}
    return {
        "size": size, "pictures": SEVERAL, "pictures of networks": FEW, "costs": found,
        "spread of a picture": {each: round(value, 3) for each, value in spreads.items()},
        "whole": whole, "sum of its stages": round(sum(found[each]["ms"] for each in OF_WHOLE), 3),
        "asked": {name: asked(work) for name, work in networks(pictures[0], scenes[0], dataset, scenes).items()},
        "bytes": bytes_of(place, shard, dataset, boxes, images),
    }  # fmt: skip


def one_by_one(work: Callable[[Any], object], items: list[Any]) -> tuple[Cost, float]:
    """Return what a picture costs, and the spread of one picture's costs: standard deviation by mean."""
    work(items[0])
    made, walls, spreads = [], [], []
    for _ in range(ROUNDS):
        wall, each = time.perf_counter(), []
        for item in items:
            cpu = time.process_time()
            work(item)
            each.append(1000 * (time.process_time() - cpu))
        walls.append(1000 * (time.perf_counter() - wall) / len(items))
        made.append(statistics.fmean(each))
        spreads.append(statistics.stdev(each) / made[-1])
    return cost_of(made, walls), statistics.median(spreads)


def box_cost(pictures: list[Decoded]) -> Cost:
    """Return what BOX costs behind a matte of `hatt`: the smallest rectangle, judged and cut."""
    matte, times = make_matte("hatt"), 10
    mattes = [found for picture in pictures if (found := matte.find(picture)) is not None]
    size = pictures[0].size

    def boxes() -> None:
        for alpha in mattes * times:
            box, small = read_finding(alpha, size)
            if box is not None:
                usable_box(box, boxing.judge(box, size, size), small, 0)

    return cost(boxes, times * len(mattes))


def filling(name: str, kind: int, dataset: Dataset, scenes: list[Scene]) -> Callable[[Scene], object]:
    """Return what fills a scene as the stage does; a partner is decoded when it is taken."""

    def partners(label: int, rng: np.random.Generator) -> Iterator[Scene]:
        for row in rng.permutation([row for row, scene in enumerate(scenes) if scene.label != label]).tolist():
            yield replace(scenes[row], image=dataset.image(row, len(scenes[row].image), "crop"))

    materials = Materials(partners, CLASSES)
    return lambda scene: infill(name, kind, scene, rng_for(0, scene.label, name), materials)


def networks(picture: Decoded, scene: Scene, dataset: Dataset, scenes: list[Scene]) -> dict[str, Callable[[], object]]:
    """Return the stages that are networks, each on one picture, as an accelerator computes them: without a CPU's short
    ways.
    """
    matte, fill = HattMatte(), filling("cagan", COUNTERFACTUAL, dataset, scenes)
    matte.network = load(matte.path)[0]

    def filled() -> object:
        with torch.backends.mkldnn.flags(enabled=False):
            return fill(scene)

    return {"MATTE hatt": lambda: matte.find(picture), "INFILL cagan": filled}


def config_of(dataset: str, place: Path, size: int, out: Path) -> AugmentConfig:
    """Return settings in which every picture but two a class is a meta original, with the quickest matte and fills."""
    return AugmentConfig(
        dataset=dataset, root=place / "pictures" if dataset == "folder" else None, cf=("tile",), f=("random",),
        meta=f"{ORIGINALS // CLASSES}/class", size=size, matte="given", out=out, overwrite=True,
    )  # fmt: skip


def whole_flow(config: AugmentConfig) -> dict[str, Any]:
    """Return what clp-augment costs an original: by stage, "rest" (lay out, seal, verify: SHARD), and in all."""
    by_stage: dict[str, list[float]] = {}

    @contextmanager
    def clock(stage: str, total: int) -> Iterator[Callable[[int], None]]:
        start = time.process_time()
        yield lambda done: None
        by_stage.setdefault(stage, []).append(1000 * (time.process_time() - start) / ORIGINALS)

    pipeline.augment(config)
    walls = []
    for _ in range(ROUNDS):
        cpu, wall = time.process_time(), time.perf_counter()
        pipeline.augment(config, clock)
        by_stage.setdefault("all", []).append(1000 * (time.process_time() - cpu) / ORIGINALS)
        walls.append(1000 * (time.perf_counter() - wall) / ORIGINALS)
    stages = [name for name in by_stage if name not in ("SHARD", "all")]
    rest = [whole - sum(by_stage[name][i] for name in stages) for i, whole in enumerate(by_stage["all"])]
    return {name: cost_of(made, walls)["ms"] for name, made in by_stage.items()} | {"rest": cost_of(rest, walls)}


def fill_cost(path: Path, shard: Path, images: list[np.ndarray]) -> Cost:
    """Return what it costs to put an original into a shard: its rows, their digests and its matte."""
    each, size = len(images), len(images[0])
    header = ShardReader(shard).header
    lay_out(path, header, FIELDS, {"N": ROWS_EACH * each, "M": each, "K": each, "H": size, "W": size})
    rows = [image for image in images for _ in range(ROWS_EACH)]
    mattes = np.stack([image[..., 0] for image in images])

    def fill() -> None:
        with Blank(path) as blank:
            blank.fill("meta/images", 0, rows)
            blank.fill("look/matte", 0, mattes)

    return cost(fill, each)


def bytes_of(
    place: Path, shard: Path, dataset: Dataset, boxes: list[Box], images: list[np.ndarray]
) -> dict[str, float]:
    """Return bytes a picture: of its file, in a shard, and of what a worker would send back of a block."""
    files = [path.stat().st_size for path in (place / "pictures").rglob("*.jpg")]
    digests = {dataset.samples.name[row]: "0" * DIGEST_LETTERS for row in range(len(boxes))}
    ones = np.ones(len(boxes), np.uint8)
    copies = [image.copy() for image in images for _ in range(ROWS_EACH)]
    return {
        "file": round(statistics.fmean(files)) if files else images[0].nbytes,
        "shard, an original": round(shard.stat().st_size / ORIGINALS),
        "shard, a training picture": sum(row_bytes(name) for name in FIELDS if name.startswith("train/")),
        "cache": images[0].nbytes,
        "sent back, boxes": round(len(pickle.dumps((np.array(boxes, np.int32), ones, ones, digests))) / len(boxes)),
        "sent back, copies": round(len(pickle.dumps(copies, protocol=5)) / len(images)),
        "sent back, matte": images[0][..., 0].nbytes,
    }


def row_bytes(name: str) -> int:
    """Return the bytes of one row of a table of the contract."""
    field = FIELDS[name]
    sides = [side for side in field.shape if not isinstance(side, str)]
    return int(np.dtype(field.dtype).itemsize * np.prod(sides, dtype=int))
