"""The small inputs of the campaigns: class folders, pictures with groups, cut-outs, a table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from tests.campaigns.cases import make_picture

CLASSES = ("disc", "cross", "square")
SIDE = 24
TABLE = """
title = "A small table"

[columns.birds]
title = "Birds"
measure = "worst"

[columns.birds.cpu]
augment = ["--dataset", "waterbirds", "--root", "{root}", "--meta", "3/group", "--size", "16", "--matte", "centre"]
train = ["--root", "{root}", "--epochs", "2", "--batch-size", "12", "--model", "resnet8", "--set",
         "checkpoint_interval=1"]

[rows.erm]
title = "CE"
method = "erm"

[rows.logit-adjust]
title = "LA"
method = "logit-adjust"
"""


def make_inputs(root: Path) -> None:
    """Write every input below a folder, always the same."""
    make_folders(root / "folder")
    make_birds(root / "birds")
    make_cutouts(root / "cutouts")
    make_pairs(root / "matte")
    make_plain(root / "pictures", 8)
    for c in range(2):
        make_plain(root / "many" / CLASSES[c], 40, 12)
    (root / "table.toml").write_text(TABLE.replace("{root}", str(root / "birds")))


def picture(*key: int, side: int = SIDE) -> np.ndarray:
    """Return uint8 (side, side, 3): a shape of class key[0] % 3 before noise."""
    drawn = Image.fromarray(make_picture(key[0] % len(CLASSES), np.random.default_rng(key)))
    return np.asarray(drawn.resize((side, side)))


def save(path: Path, pixels: np.ndarray) -> None:
    """Write a PNG, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def make_folders(root: Path) -> None:
    """Write three classes of 10 training pictures, 2 of val and 2 of test."""
    for s, (split, count) in enumerate((("train", 10), ("val", 2), ("test", 2))):
        for c, name in enumerate(CLASSES):
            for i in range(count):
                save(root / split / name / f"{i:02d}.png", picture(c, s, i))


def make_birds(root: Path) -> None:
    """Write a set in the layout of Waterbirds: 9 training pictures of each group, 2 of val and 2 of test."""
    lines = ["img_id,img_filename,y,split,place"]
    for split, count in enumerate((9, 2, 2)):
        for group in range(4):
            for i in range(count):
                name = f"{split}-{group}-{i}.png"
                pixels = picture(group // 2, 7 + split, group, i).astype(int)
                pixels[..., 2 if group % 2 else 1] += 60
                save(root / name, pixels.clip(0, 255).astype(np.uint8))
                lines.append(f"{len(lines) - 1},{name},{group // 2},{split},{group % 2}")
    (root / "metadata.csv").write_text("\n".join(lines) + "\n")
    (root / "recipe.json").write_text("{}\n")


def make_cutouts(root: Path) -> None:
    """Write what clp-data waterbirds takes: cut-outs of two kinds, a table of their classes, two kinds of places."""
    lines = ["file,class"]
    for c, kind in enumerate(("land", "water")):
        for i in range(8):
            name = f"{kind}{i}.png"
            save(root / "birds" / name, np.dstack([picture(c, 20, i), disc(SIDE)]))
            lines.append(f"{name},{kind}bird")
            save(root / kind / f"{i}.png", picture(c, 21, i, side=30))
    (root / "classes.csv").write_text("\n".join(lines) + "\n")


def disc(side: int) -> np.ndarray:
    """Return uint8 (side, side): 255 in a disc of half the side."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    return np.where(y**2 + x**2 < (side / 4) ** 2, 255, 0).astype(np.uint8)


def make_pairs(root: Path) -> None:
    """Write what clp-fit matte takes: cut-outs and backgrounds, pictures and their masks."""
    for i in range(6):
        pixels = picture(i, 30, side=40)
        save(root / "foregrounds" / f"{i}.png", np.dstack([pixels, disc(40)]))
        save(root / "backgrounds" / f"{i}.png", picture(i, 31, side=40))
        save(root / "pictures" / f"{i}.png", pixels)
        save(root / "masks" / f"{i}.png", disc(40))


def make_plain(root: Path, count: int, side: int = 40) -> None:
    """Write square pictures into one folder."""
    for i in range(count):
        save(root / f"{i}.png", picture(i, 40, side=side))
