"""Masks: what lies in their folder, what fits no picture, and files that are no masks at all."""

import os

import numpy as np
import pytest
from PIL import Image

from clp_aug.contract.errors import InputError
from clp_aug.datasets import folder
from clp_aug.datasets.annotations import with_annotations
from clp_aug.datasets.masks import LOOKED_AT
from tests.clp_aug.datasets.tiny_sets import make_folder, save_mask, save_picture

SIZE = (8, 6)


@pytest.fixture
def pictures(tmp_path):
    return folder.load(make_folder(tmp_path / "root", [f"cat/{i}.jpg" for i in range(4)]))


def save(path, values, mode="L", palette=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(np.asarray(values, np.uint8), mode)
    if palette is not None:
        picture.putpalette(palette)
    picture.save(path)


def pattern(inside, outside=0):
    values = np.full(SIZE[::-1], outside, np.uint8)
    values[2:4, 2:6] = inside
    return values


VOC = [0, 0, 0, 128, 0, 0, 0, 128, 0, 192, 128, 128]
OTHER_COLOURS = [0, 0, 0, 0, 0, 128, 0, 128, 0, 192, 128, 128]
NO_MASKS = {
    "class numbers": lambda path: save(path, pattern(2, 1)),
    "one of three numbers": lambda path: save(path, pattern(2, 0)),
    "dark colours of a palette": lambda path: save(path, pattern(1), "P", OTHER_COLOURS),
    "nearly black": lambda path: save(path, pattern(40)),
}


@pytest.mark.parametrize("draw", NO_MASKS.values(), ids=NO_MASKS)
def test_masks_that_would_give_no_box_are_refused_at_once(pictures, tmp_path, draw):
    for i in range(4):
        draw(tmp_path / "m" / "cat" / f"{i}.png")
    message = (
        r"masks .*/m: cat/0.png is nearly black, like class numbers 1, 2, 3 or .*; expected 255 where the object is"
    )
    with pytest.raises(InputError, match=message):
        with_annotations(pictures, tmp_path / "m")
    save(tmp_path / "m" / "cat" / "2.png", pattern(255))
    assert len(with_annotations(pictures, tmp_path / "m").annotations.masks) == 4, "one is a mask: so they may be all"


MASKS = {
    "of 0 and 1": lambda path: save(path, pattern(1)),
    "of 0 and 255": lambda path: save(path, pattern(255)),
    "all black": lambda path: save(path, pattern(0)),
    "all white": lambda path: save(path, pattern(255, 255)),
    "all of one dark grey": lambda path: save(path, pattern(9, 9)),
    "soft": lambda path: save(path, pattern(60, 3)),
    "of a palette": lambda path: save(path, pattern(3), "P", VOC),
    "red": lambda path: save(path, np.stack([pattern(255), pattern(0), pattern(0)], 2), "RGB"),
    "broken": lambda path: (save(path, pattern(255)), path.write_bytes(path.read_bytes()[:50])),
}


@pytest.mark.parametrize("draw", MASKS.values(), ids=MASKS)
def test_masks_of_any_kind_are_taken(pictures, tmp_path, draw):
    for i in range(4):
        draw(tmp_path / "m" / "cat" / f"{i}.png")
    assert len(with_annotations(pictures, tmp_path / "m").annotations.masks) == 4


def test_photographs_are_no_masks_unless_their_opacity_is_one(pictures, tmp_path):
    for i in range(4):
        save_picture(tmp_path / "m" / "cat" / f"{i}.png", i)
    with pytest.raises(
        InputError, match=r"masks .*/m: cat/0.png is a colour photograph; expected 255 where the object"
    ):
        with_annotations(pictures, tmp_path / "m")
    for i in range(4):
        noise = np.random.default_rng(i).integers(0, 256, (*SIZE[::-1], 3), np.uint8)
        save(tmp_path / "m" / "cat" / f"{i}.png", np.dstack([noise, pattern(255)]), "RGBA")
    annotated = with_annotations(pictures, tmp_path / "m")
    np.testing.assert_array_equal(annotated.alpha(0), pattern(1))


def test_few_files_are_looked_at_until_one_is_a_mask(tmp_path, monkeypatch):
    from clp_aug.datasets import masks

    pictures = folder.load(make_folder(tmp_path / "root", [f"cat/{i:02d}.jpg" for i in range(40)]))
    for i in range(40):
        save_mask(tmp_path / "m" / "cat" / f"{i:02d}.png", 0)
    opened = []
    real = masks.look_at
    monkeypatch.setattr(masks, "look_at", lambda path: opened.append(path.name) or real(path))
    with_annotations(pictures, tmp_path / "m")
    assert opened == [f"{i:02d}.png" for i in range(0, 40, 40 // LOOKED_AT)]
    opened.clear()
    save_mask(tmp_path / "m" / "cat" / "05.png")
    with_annotations(pictures, tmp_path / "m")
    assert opened == ["00.png", "05.png"]


NOTHING = {
    "JPEG": (["cat/0.jpg", "cat/1.jpeg"], r"no PNG file that fits, but cat/0.jpg, cat/1.jpeg: save masks as PNG, or n"),
    "other files": (["a.npy", "b.json", "c.mat", "d.mat"], r"no PNG file, but a.npy, b.json, c.mat, \.\.\.; expected"),
    "hidden ones": ([".0.png"], r"no file in it; expected e.g. cat/0.png for cat/0.jpg$"),
    "none": ([], r"masks .*/m: no file in it; expected e.g. cat/0.png for cat/0.jpg$"),
    "other names": (["cat/0_mask.png", "x.jpg"], r"none of 1 PNG files fits a picture; expected e.g. cat/0.png for"),
    "a folder called a mask": (["cat/0.png/x.txt"], r"no PNG file, but cat/0.png/x.txt; expected"),
}  # fmt: skip


@pytest.mark.parametrize(("files", "message"), NOTHING.values(), ids=NOTHING)
def test_where_nothing_fits_it_is_said_what_is_there(pictures, tmp_path, files, message):
    (tmp_path / "m").mkdir()
    for file in files:
        (tmp_path / "m" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "m" / file).write_bytes(b"x")
    with pytest.raises(InputError, match=message):
        with_annotations(pictures, tmp_path / "m")


def test_a_link_to_nowhere_is_a_mask_that_is_missing(pictures, tmp_path):
    save_mask(tmp_path / "m" / "cat" / "0.png")
    os.symlink(tmp_path / "nowhere", tmp_path / "m" / "cat" / "1.png")
    os.mkfifo(tmp_path / "m" / "cat" / "2.png")
    annotated = with_annotations(pictures, tmp_path / "m")
    assert list(annotated.annotations.masks) == [0, 1]
    with pytest.raises(InputError, match=r"cannot read .*/m/cat/1.png \(No such file or directory\)"):
        annotated.alpha(1)


def test_masks_that_fit_no_picture_are_named(pictures, tmp_path):
    for name in ("cat/0.png", "cat/1.png"):
        save_mask(tmp_path / "m" / name)
    assert with_annotations(pictures, tmp_path / "m").remarks == pictures.remarks
    save_mask(tmp_path / "m" / "cat" / "9.png")
    (tmp_path / "m" / "cat" / "2.jpg").write_bytes(b"x")
    assert with_annotations(pictures, tmp_path / "m").remarks[-1] == (
        f"masks {tmp_path / 'm'}: 2 fit a picture, 2 files fit none or are no PNG: cat/9.png, cat/2.jpg"
    )
    assert with_annotations(pictures, tmp_path / "m", of_more=True).remarks == pictures.remarks


def test_boxes_of_other_pictures_are_told_where_they_may_be(pictures, tmp_path):
    (tmp_path / "b.csv").write_text("file,x0,y0,x1,y1\nelsewhere/0.jpg,0,0,4,4\n")
    said = f"{tmp_path / 'b.csv'}: no box in it is of a picture of this set"
    assert with_annotations(pictures, boxes_csv=tmp_path / "b.csv", of_more=True).remarks[-1] == said
