"""Small files that pages start from: `<!-- setup: NAME -->`. The names are listed in docs/site/README.md."""

from __future__ import annotations

import atexit
import csv
import json
import pickle
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from tests.docs.pages import ROOT

SIDE = 64
COUNTS = {"pictures": 24, "test": 6}
GREEN, BLUE = (60, 140, 60), (60, 90, 170)


def picture(kind: int, ground: tuple[int, int, int], seed: int) -> tuple[Image.Image, tuple[int, int, int, int]]:
    """Return a picture of a disc (0) or a triangle (1) on noisy ground, SIDE x SIDE, and the object's box."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 14, (SIDE, SIDE, 1)) + np.array(ground)
    made = Image.fromarray(noise.clip(0, 255).astype(np.uint8))
    x0, y0 = (int(value) for value in rng.integers(8, 24, 2))
    x1, y1 = x0 + 28, y0 + 28
    if kind == 0:
        ImageDraw.Draw(made).ellipse((x0, y0, x1, y1), fill=(150, 100, 60))
    else:
        ImageDraw.Draw(made).polygon([(x0, y1), (x1, y1), ((x0 + x1) // 2, y0)], fill=(220, 140, 60))
    return made, (x0, y0, x1 + 1, y1 + 1)


def class_folders(folder: Path, count: int, first: int) -> dict[str, tuple[int, int, int, int]]:
    """Write folder/dog on green and folder/cat on blue; return the box of every picture by its name below folder."""
    boxes = {}
    for kind, (name, ground) in enumerate((("dog", GREEN), ("cat", BLUE))):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            made, box = picture(kind, ground, first + 100 * kind + number)
            made.save(folder / name / f"{number + 1:02}.png")
            boxes[f"{name}/{number + 1:02}.png"] = box
    return boxes


def pictures(here: Path) -> None:
    """Write pictures/dog and pictures/cat."""
    class_folders(here / "pictures", COUNTS["pictures"], 0)


def test_pictures(here: Path) -> None:
    """Write test/dog and test/cat."""
    class_folders(here / "test", COUNTS["test"], 1000)


def coco(here: Path) -> None:
    """Write pictures and instances.json."""
    boxes = class_folders(here / "pictures", COUNTS["pictures"], 0)
    images = [{"id": at, "file_name": name, "width": SIDE, "height": SIDE} for at, name in enumerate(boxes)]
    found = [
        {"id": at, "image_id": at, "category_id": 1, "bbox": [x0, y0, x1 - x0, y1 - y0]}
        for at, (x0, y0, x1, y1) in enumerate(boxes.values())
    ]
    content = {"images": images, "annotations": found, "categories": [{"id": 1, "name": "animal"}]}
    (here / "instances.json").write_text(json.dumps(content), encoding="utf-8")


def groups(here: Path) -> None:
    """Write pictures and pictures/table.csv: file, label, place."""
    names = class_folders(here / "pictures", COUNTS["pictures"], 0)
    rows = [(name, name.split("/")[0], "grass" if at % 2 else "sea") for at, name in enumerate(names)]
    write_table(here / "pictures" / "table.csv", ("file", "label", "place"), rows)


def waterbirds(here: Path) -> None:
    """Write data/waterbirds: pictures of four groups and metadata.csv."""
    folder = here / "data" / "waterbirds"
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[tuple[object, ...]] = []
    for split, counts in enumerate(((30, 14, 14, 30), (4, 4, 4, 4), (6, 6, 6, 6))):
        for group, count in enumerate(counts):
            bird, place = divmod(group, 2)
            for _ in range(count):
                name = f"bird{len(rows):04}.png"
                picture(bird, BLUE if place else GREEN, 5000 + len(rows))[0].save(folder / name)
                rows.append((len(rows), name, bird, split, place))
    write_table(folder / "metadata.csv", ("img_id", "img_filename", "y", "split", "place"), rows)


def cifar10(here: Path) -> None:
    """Write data/cifar10 with the python files of CIFAR-10, 24 pictures of each class in each of them."""
    folder = here / "data" / "cifar10" / "cifar-10-batches-py"
    folder.mkdir(parents=True, exist_ok=True)
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    for at, file in enumerate([*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]):
        labels = [number % 10 for number in range(240)]
        shades = [(60 + 12 * label, 150 - 9 * label, 90) for label in labels]
        images = [
            picture(label % 2, shades[n], 9000 + 240 * at + n)[0].resize((32, 32)) for n, label in enumerate(labels)
        ]
        data = np.stack([np.asarray(each).transpose(2, 0, 1).reshape(-1) for each in images])
        (folder / file).write_bytes(pickle.dumps({"data": data, "labels": labels}, protocol=4))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names}, protocol=4))


def pictures_shard(here: Path) -> None:
    """Write pictures and shards/pictures.h5."""
    augment = "clp-augment --dataset folder --root pictures --cf tile --f mix-rand --meta 4/class --matte centre"
    copied(here, made("pictures-shard", f"{augment} --out shards/pictures.h5", pictures))


def pictures_run(here: Path) -> None:
    """Write pictures, shards/pictures.h5 and runs/mine."""
    train = "clp-train --meta shards/pictures.h5 --root pictures --method erm --epochs 1 --preset none --out runs/mine"
    copied(here, made("pictures-run", train, pictures_shard))


def checkout(here: Path) -> None:
    """Link the folders of a checkout whose scripts pages run."""
    for name in ("examples", "experiments", "benchmarks", "assets"):
        if not (here / name).exists():
            (here / name).symlink_to(ROOT / name)


SETUPS: dict[str, Callable[[Path], None]] = {
    "pictures": pictures,
    "test-pictures": test_pictures,
    "coco": coco,
    "groups": groups,
    "waterbirds": waterbirds,
    "cifar10": cifar10,
    "pictures-run": pictures_run,
    "checkout": checkout,
}


def write_table(
    path: Path, columns: tuple[str, ...], rows: list[tuple[object, ...]] | list[tuple[str, str, str]]
) -> None:
    """Write a CSV file."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([columns, *rows])


@cache
def store() -> Path:
    """Return a folder for what commands made, for as long as this process lives."""
    folder = Path(tempfile.mkdtemp(prefix="clp-docs-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def made(name: str, command: str, before: Callable[[Path], None] | None = None) -> Path:
    """Return a folder in which a command was run once. Raises CalledProcessError if it fails."""
    folder = store() / name
    folder.mkdir()
    if before is not None:
        before(folder)
    tool, *rest = command.split()
    from tests.docs.run_commands import environment, tool_path

    done = subprocess.run(
        [tool_path(tool), *rest, "--quiet"], cwd=folder, env=environment(), capture_output=True, text=True
    )
    if done.returncode != 0:
        raise RuntimeError(f"setup {name}: {command}: exit code {done.returncode}: {done.stderr}")
    return folder


def copied(here: Path, folder: Path) -> None:
    """Copy what a folder holds."""
    shutil.copytree(folder, here, dirs_exist_ok=True)
