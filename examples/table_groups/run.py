"""Groups from a table: 3 shapes on 3 grounds, made here, then group DRO and CLP on them.

    python examples/table_groups/run.py FOLDER

FOLDER gets pictures/ with table.csv (file, label, split, ground, and a box of each), a shard, and a run of each method.
In training nine of ten shapes lie on the ground of their own; the worst of the nine groups tells who relied on that.
"""

from __future__ import annotations

import csv
import json
import shlex
import sys
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 24
SHAPES, GROUNDS = ("disc", "square", "ring"), {"sand": (170, 140, 70), "grass": (60, 130, 50), "sea": (50, 90, 150)}
COUNTS = {"train": (36, 4), "val": (4, 4), "test": (8, 8)}  # pictures of a shape on its own ground, and on each other


def draw(shape: str, ground: str, rng: np.random.Generator) -> tuple[np.ndarray, list[int]]:
    """Return one picture, uint8 (SIDE, SIDE, 3), and the box of its shape: x0, y0, x1, y1, half open."""
    picture = np.array(GROUNDS[ground]) + rng.normal(0, 12, (SIDE, SIDE, 3))
    radius = int(rng.integers(5, 8))
    x, y = rng.integers(radius, SIDE - radius, 2).tolist()
    across, down = np.meshgrid(np.arange(SIDE) - x, np.arange(SIDE) - y)
    distance = np.maximum(abs(across), abs(down)) if shape == "square" else np.hypot(across, down)
    inside = (distance <= radius) & ((distance > radius - 3) if shape == "ring" else True)
    picture[inside] = 235 + rng.normal(0, 8, (int(inside.sum()), 3))
    return picture.clip(0, 255).astype(np.uint8), [x - radius, y - radius, x + radius, y + radius]


def make(folder: Path) -> None:
    """Write the pictures and their table."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "table.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["file", "label", "split", "ground", "x0", "y0", "x1", "y1"])
        for split, counts in COUNTS.items():
            for shape, own in zip(SHAPES, GROUNDS, strict=True):
                for ground in GROUNDS:
                    for k in range(counts[ground != own]):
                        picture, box = draw(shape, ground, rng)
                        name = f"{split}-{shape}-{ground}-{k}.png"
                        Image.fromarray(picture).save(folder / name)
                        table.writerow([name, shape, split, ground, *box])


def run(line: str) -> None:
    """Print a command of the two tools and run it."""
    from clp_aug.cli import augment
    from clp_train.cli import train

    print(f"$ {line}", flush=True)
    tool, *arguments = shlex.split(line)
    {"clp-augment": augment, "clp-train": train}[tool].main(arguments, tool, standalone_mode=False)


def main(folder: Path, epochs: int = 6) -> dict[str, float]:
    """Make the set, run the commands, and return the worst accuracy of a group on the test pictures by method."""
    pictures, shard = shlex.quote(str(folder / "pictures")), shlex.quote(str(folder / "shard.h5"))
    make(folder / "pictures")
    run(f"clp-augment --dataset table --root {pictures} --meta 2/group --cf tile --f random --workers 1 --out {shard}"
        " --quiet")  # fmt: skip
    worst = {}
    for method in ("group-dro", "clp"):
        out = folder / method
        run(
            f"clp-train --meta {shard} --root {pictures} --method {method} --model resnet8 --epochs {epochs}"
            f" --batch-size 18 --out {shlex.quote(str(out))} --quiet"
        )
        worst[method] = json.loads((out / "result.json").read_text())["last"]["metrics"]["test"]["worst"]
    return worst


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    print(main(Path(sys.argv[1])))
