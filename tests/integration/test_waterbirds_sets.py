"""A set in the published layout and one that was made anew: the same two commands take both."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from clp_aug.cli import augment
from clp_aug.data_cli import data
from clp_aug.datasets.waterbirds import GROUPS
from clp_train.cli import train

COUNTS = ((9, 3, 3, 9), (2, 2, 2, 2), (2, 2, 2, 2))  # of each group in train, val and test


def run(command, *arguments):
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def save(path, seed, value=None):
    """Write a picture of noise, or a mask with a square of a value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if value is None:
        pixels = np.random.default_rng(seed).integers(0, 256, (20, 24, 3), np.uint8)
    else:
        pixels = np.zeros((20, 24), np.uint8)
        pixels[4:14, 6:18] = value
    Image.fromarray(pixels).save(path)


def published(root):
    """The published columns, folders of species, masks linked beside; what is left out of it is said in a recipe."""
    lines = ["img_id,img_filename,y,split,place,place_filename"]
    for split, counts in enumerate(COUNTS):
        for group, count in enumerate(counts):
            for _ in range(count):
                i = len(lines)
                name = f"{i:03d}.Some_Bird/Some_Bird_{i:04d}_{7 * i}"
                save(root / f"{name}.jpg", i)
                save(root / "masks" / f"{name}.png", i, 255)
                lines.append(f"{i},{name}.jpg,{group // 2},{split},{group % 2},/o/ocean/{i:08d}.jpg")
    (root / "metadata.csv").write_text("\n".join(lines) + "\n")
    (root / "recipe.json").write_text('{"is": "the first pictures of each group"}')


def made_anew(root):
    sources = root.parent / "sources"
    for i in range(40):
        name = f"{('landbird', 'waterbird')[i % 2]}/{i:02d}.png"
        save(sources / "birds" / name, i)
        save(sources / "masks" / name, i, 255)
    for i in range(12):
        save(sources / ("land", "water")[i % 2] / f"{i}.png", 100 + i)
    folders = [part for name in ("birds", "masks", "land", "water") for part in (f"--{name}", sources / name)]
    shares = ("--shares", "12,4,4", "--confounding", 0.75)
    run(data, "waterbirds", *folders, *shares, "--workers", 1, "--quiet", "--out", root)


@pytest.mark.parametrize("make", [published, made_anew])
def test_the_same_commands_train_on_both(tmp_path, make):
    root, shard, out = tmp_path / "set", tmp_path / "x.h5", tmp_path / "run"
    make(root)
    fills = ("--cf", "grey", "--f", "random", "--matte", "given", "--meta", "1/group", "--size", 16)
    run(augment, "--dataset", "waterbirds", "--root", root, *fills, "--workers", 1, "--quiet", "--out", shard)
    quick = ("--epochs", 2, "--batch-size", 8, "--quiet", "--out", out)
    told = run(train, "--meta", shard, "--root", root, "--method", "group-dro", *quick)
    assert "worst" in told
    assert "average, weighted as in training" in told
    result = json.loads((out / "result.json").read_text())
    assert result["group_names"] == list(GROUPS)
    assert result["train_group_counts"] == [n - 1 for n in COUNTS[0]], "the meta pictures left"
    assert result["average_weights"] == list(COUNTS[0])
    for split, counts in (("val", COUNTS[1]), ("test", COUNTS[2])):
        assert tuple(result["selected"]["metrics"][split]["group_counts"]) == counts
