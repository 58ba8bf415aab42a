"""The weights that come with the package: their hash, their terms, and a clear outcome for hard pictures."""

import dataclasses
import re

import cv2
import numpy as np
import pytest
from PIL import Image

from clp_aug import boxing
from clp_aug.contract.boxes import iou
from clp_aug.contract.errors import InputError
from clp_aug.contract.schema import EMPTY, OK
from clp_aug.datasets import load_dataset
from clp_aug.mattes import make_chain, make_matte
from clp_aug.mattes.chain import locate
from clp_aug.mattes.picture import Picture
from clp_aug.nets.shipped import FOLDER, SHIPPED, shipped_path

SIZE = 160


class Shown:
    """A picture as the stages see it."""

    def __init__(self, image):
        self.image, self.size, self.sample_id = image, len(image), 0


@pytest.fixture(scope="module")
def chain():
    return make_chain("hatt")


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_files_are_what_was_released_and_small(name):
    path = shipped_path(name)
    assert path.stat().st_size <= 10e6
    card = path.with_suffix(".md").read_text()
    assert SHIPPED[name].sha256 in card, "the model card is of other weights"
    for heading in ("## Data and terms", "## Recipe", "## Figures", "## Known failures"):
        assert heading in card


def test_other_bytes_are_refused(monkeypatch):
    monkeypatch.setitem(SHIPPED, "hatt", dataclasses.replace(SHIPPED["hatt"], sha256="f" * 64))
    message = r"hatt\.safetensors: SHA-256 is [0-9a-f]{64}, expected f{64}; install the package again, or give your own"
    with pytest.raises(InputError, match=message):
        make_matte("hatt")


def test_a_missing_file_is_named(monkeypatch):
    monkeypatch.setitem(SHIPPED, "hatt", dataclasses.replace(SHIPPED["hatt"], file="no.safetensors"))
    with pytest.raises(InputError, match=re.escape("no.safetensors: cannot read (No such file or directory)")):
        make_matte("hatt")
    assert FOLDER == "clp_assets"


def meadow(size=SIZE, seed=0):
    """A soft green and blue picture with grain and nothing in it."""
    rng = np.random.default_rng(seed)
    down = np.linspace(0, 1, size)[:, None, None]
    picture = (1 - down) * (150, 190, 225) + down * (90, 140, 60)
    return np.clip(picture + rng.normal(0, 6, (size, size, 1)), 0, 255).round().astype(np.uint8)


def with_discs(*places, size=SIZE, seed=0):
    """The meadow with a reddish disc at each (x, y, radius), and the box around all of them."""
    picture, solid = meadow(size, seed), np.zeros((size, size), np.uint8)
    for x, y, radius in places:
        cv2.circle(solid, (x, y), radius, 1, -1)
    shade = np.random.default_rng(seed).normal(0, 10, (size, size, 1))
    picture[solid > 0] = np.clip((170, 60, 50) + shade, 0, 255)[solid > 0]
    return picture, boxing.enclosing_box(solid > 0)


@pytest.mark.parametrize(
    "places",
    [[(0, 80, 40)], [(159, 80, 40)], [(80, 0, 40)], [(80, 159, 40)], [(80, 80, 40)], [(45, 60, 26), (115, 100, 26)]],
    ids=["left", "right", "top", "bottom", "middle", "two"],
)
def test_objects_on_borders_and_two_of_them_are_boxed(chain, places):
    picture, box = with_discs(*places)
    found = locate(Shown(picture), chain)
    assert (found.source, found.outcome) == (0, OK)
    assert iou(np.array(found.box), np.array(box)) > 0.7


def test_a_picture_without_an_object_falls_back_and_says_why(chain):
    found = locate(Shown(meadow()), chain)
    assert (found.source != 0, found.outcome) == (True, EMPTY)


@pytest.mark.parametrize("size", [(1, 1), (4000, 3000), (3, 500)], ids=str)
def test_pictures_of_any_size_get_a_box(chain, tmp_path, size):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.full((*size[::-1], 3), 120, np.uint8)).save(tmp_path / name / "one.png")
    found = locate(Picture(load_dataset("folder", tmp_path), 0, 64, "crop"), chain)
    x0, y0, x1, y1 = found.box
    assert 0 <= x0 < x1 <= 64
    assert 0 <= y0 < y1 <= 64
    assert found.outcome == EMPTY
    assert found.source != 0


@pytest.mark.parametrize("size", [32, 64, 224])
def test_it_finds_the_shapes_of_the_built_in_set(chain, size):
    demo = load_dataset("demo")
    overlaps = []
    for row in range(0, 400, 20):
        picture = Picture(demo, row, size, "crop")
        truth = boxing.enclosing_box(picture.alpha >= 0.5)
        overlaps.append(float(iou(np.array(locate(picture, chain).box), np.array(truth))))
    assert np.mean(overlaps) > 0.5
