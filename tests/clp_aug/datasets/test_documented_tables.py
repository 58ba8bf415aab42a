"""Blocks of docs/how-to/data.md that make tables of published sets, each run on a small tree in that layout."""

import importlib.util
import re
from pathlib import Path

import h5py
import numpy as np
import pytest

from clp_aug.datasets import table
from tests.clp_aug.datasets.tiny_sets import make_folder

PAGE = (Path(__file__).parents[3] / "docs/how-to/data.md").read_text()
BLOCKS = dict(re.findall(r"```python (\w+)\n(.*?)```", PAGE, re.DOTALL))


def celeba(root):
    names = [f"{k:06d}.jpg" for k in range(1, 5)]
    make_folder(root, [f"img_align_celeba/{name}" for name in names])
    columns = " ".join(f"a{k}" for k in range(40))
    values = ["-1 " * 9 + f"{y} " + "-1 " * 10 + f"{a} " + "-1 " * 19 for y, a in ((1, -1), (-1, -1), (-1, 1), (1, 1))]
    lines = [f"{name} {text}" for name, text in zip(names, values, strict=True)]
    (root / "list_attr_celeba.txt").write_text("\n".join(["4", columns, *lines]) + "\n")
    (root / "list_eval_partition.txt").write_text("".join(f"{name} {k % 3}\n" for k, name in enumerate(names)))


def spawrious(root):
    dogs = ("bulldog", "corgi", "dachshund", "labrador")
    places = ("beach", "desert", "jungle", "mountain", "snow")
    make_folder(root, [f"spawrious224/{part}/{place}/{dog}/1.png" for part in "01" for place in places for dog in dogs])


def urbancars(root):
    kinds = [f"obj-{a}_bg-{b}_co_occur_obj-{c}" for a in CARS for b in CARS for c in CARS]
    for ratio in ("0.95", "0.5"):
        for split in ("train", "val", "test"):
            make_folder(root, [f"urbancars/bg-{ratio}_co_occur_obj-{ratio}/{split}/{kind}/1.jpg" for kind in kinds])


CARS = ("urban", "country")


def metashift(root):
    folders = ("train/cat/cat(indoor)", "train/dog/dog(outdoor)", "test/cat/cat(outdoor)", "test/dog/dog(indoor)")
    make_folder(root, [f"MetaShift-Cat-Dog-indoor-outdoor/{folder}/{k}.jpg" for folder in folders for k in range(2)])


def nico(root):
    make_folder(root, [f"public_dg_0416/train/{place}/{name}/{k}.jpg" for place in ("dim", "rock")
                       for name in ("bear", "bus") for k in range(5)])  # fmt: skip


def spuco(root):
    kinds = [("spuco_birds", bird, place) for bird in ("landbirds", "waterbirds") for place in ("land", "water")]
    kinds += [("spuco_dogs", dog, place) for dog in ("small_dogs", "big_dogs") for place in ("indoor", "outdoor")]
    make_folder(root, [f"{a}/{split}/{b}/{c}/1.jpg" for a, b, c in kinds for split in ("train", "val", "test")])


# name, its tree, classes, groups, pictures by split
ROWS = [
    (celeba, ("blond", "dark"), 4, [2, 1, 1]),
    (spawrious, ("bulldog", "corgi", "dachshund", "labrador"), 20, [16, 0, 8]),
    (urbancars, ("country", "urban"), 8, [8, 8, 8]),
    (metashift, ("cat", "dog"), 4, [4, 0, 4]),
    (nico, ("bear", "bus"), 4, [14, 2, 4]),
    (spuco, ("big_dogs", "landbirds", "small_dogs", "waterbirds"), 16, [8, 8, 8]),
]


def test_every_block_has_a_row():
    assert set(BLOCKS) == {make.__name__ for make, *_ in ROWS} | {"coco"}


@pytest.mark.parametrize(("make", "classes", "groups", "splits"), ROWS, ids=[row[0].__name__ for row in ROWS])
def test_the_table_of_a_published_set(tmp_path, monkeypatch, make, classes, groups, splits):
    make(tmp_path)
    monkeypatch.chdir(tmp_path)
    exec(BLOCKS[make.__name__], {})
    dataset = table.load(tmp_path)
    assert dataset.class_names == classes
    assert len(dataset.group_names) == groups
    assert np.bincount(dataset.samples.split, minlength=3).tolist() == splits
    for row in (0, len(dataset.samples.name) - 1):
        assert dataset.image(row).shape == (6, 8, 3)


def test_attributes_of_celeba_are_those_of_their_columns(tmp_path, monkeypatch):
    celeba(tmp_path)
    monkeypatch.chdir(tmp_path)
    exec(BLOCKS["celeba"], {})
    dataset = table.load(tmp_path)
    assert [dataset.group_names[g] for g in dataset.samples.group] == [
        "blond, sex woman", "dark, sex woman", "dark, sex man", "blond, sex man",
    ]  # fmt: skip


def test_coco_on_places(tmp_path):
    for seed, name in enumerate(("train", "validtest", "sgtest")):
        with h5py.File(tmp_path / f"{name}.h5py", "w") as file:
            file["images"] = np.random.default_rng(seed).random((9, 3, 8, 8), np.float32)
            file["y"] = np.arange(9, dtype=np.int32)
    (tmp_path / "coco.py").write_text(BLOCKS["coco"])
    spec = importlib.util.spec_from_file_location("coco", tmp_path / "coco.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    dataset = module.places(tmp_path)
    assert len(dataset.class_names) == 9
    assert np.bincount(dataset.samples.split).tolist() == [9, 9, 9]
    with h5py.File(tmp_path / "sgtest.h5py") as file:
        expected = (file["images"][0].transpose(1, 2, 0) * 255).round()
    np.testing.assert_array_equal(dataset.image(18), expected)
