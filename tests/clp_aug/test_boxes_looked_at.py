"""CHECK: boxes are placed in their pictures before any work: what is clipped is counted, what is outside is refused."""

import json

import pytest
from click.testing import CliRunner
from PIL import Image

from clp_aug import checking
from clp_aug.cli import augment
from clp_aug.contract.shards import ShardReader
from clp_aug.engines import serial
from tests.clp_aug.datasets.box_writers import HEIGHT, WIDTH, coco, corners, table, yolo

NAMES = [f"train/{label}/{i}.png" for label in ("cat", "dog") for i in range(5)]
BOXES = {name: (i, 2, 20 + i, 22) for i, name in enumerate(NAMES)}


@pytest.fixture
def root(tmp_path):
    for split in ("train", "val", "test"):
        for name in NAMES:
            path = tmp_path / "pictures" / name.replace("train", split)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (WIDTH, HEIGHT), "white").save(path)
    return tmp_path / "pictures"


def run(root, *more):
    """clp-augment in this process: its result and the shard."""
    out = root.parent / "x.h5"
    settings = {
        "--dataset": "folder",
        "--root": root,
        "--cf": "grey",
        "--meta": "2/class",
        "--workers": 1,
        "--out": out,
    }
    words = [str(word) for pair in settings.items() for word in pair]
    result = CliRunner().invoke(augment, [*words, *map(str, more)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result, out


@pytest.mark.parametrize("write", [coco, yolo, table("filename;xmin;ymin;xmax;ymax", corners, ";")])
def test_boxes_of_any_form_are_those_of_the_shard(root, write):
    result, out = run(root, "--boxes", write(root.parent, BOXES), "--size", HEIGHT, "--fit", "stretch", "--quiet")
    assert result.exit_code == 0, result.stderr
    tables = ShardReader(out).tables
    expected = {i: (i * HEIGHT // WIDTH, 2, -(-(20 + i) * HEIGHT // WIDTH), 22) for i in range(len(NAMES))}
    found = dict(zip(tables["train/sample_id"].tolist(), map(tuple, tables["train/box"].tolist()), strict=True))
    assert found == {i: expected[i] for i in found}
    assert len(found) == 6


def test_clipped_boxes_are_counted_and_those_outside_are_one_line(root):
    over = {**BOXES, NAMES[0]: (0, 0, WIDTH + 1, 5), NAMES[1]: (-1, 0, 5, 5)}
    path = table("file,x0,y0,x1,y1", corners)(root.parent, over)
    result, _ = run(root, "--boxes", path, "--dry-run", "--json")
    remarks = json.loads(result.stdout)["remarks"]
    said = "boxes that reached up to a pixel over their picture, clipped: 2 (train/cat/0.png, train/cat/1.png)"
    assert said in remarks
    path = table("file,x0,y0,x1,y1", corners)(root.parent, {**BOXES, NAMES[3]: (0, 0, WIDTH + 2, 5)})
    result, out = run(root, "--boxes", path, "--quiet")
    assert result.exit_code == 3
    assert len(result.stderr.splitlines()) == 1
    assert "picture train/cat/3.png: box (0.0, 0.0, 42.0, 5.0) is not inside its 40 x 30 pixels (" in result.stderr
    assert "boxes.csv line 5)" in result.stderr
    assert not out.exists()


def test_broken_pictures_are_listed_as_ever(root):
    for name in NAMES[:3]:
        (root / name).write_bytes(b"no picture")
    result, _ = run(root, "--boxes", coco(root.parent, BOXES), "--size", HEIGHT)
    assert result.exit_code == 3
    assert "3 of 30 pictures cannot be read" in result.stderr


def test_settings_without_effect_are_spelt_as_options(root):
    result, _ = run(root, "--masks-form", "trimap")
    assert result.exit_code == 2
    assert "--masks-form trimap: it says how to read --masks, which is not given; give it" in result.stderr
    result, _ = run(root, "--boxes", root, "--boxes-form", "yollo")
    assert (
        "--boxes-form yollo: did you mean yolo? expected one of auto, xyxy, xywh, cxcywh, coco, yolo, voc"
        in result.stderr
    )


@pytest.mark.parametrize(("most", "expected"), [(10, "serial"), (9, "processes")])
def test_few_boxes_are_looked_at_by_one_process(root, monkeypatch, most, expected):
    asked = []
    monkeypatch.setattr(checking, "BOXES_ALONE", most)
    monkeypatch.setattr(checking, "LOOK_BLOCK", 4)
    monkeypatch.setattr(checking, "engine_of", lambda name, address: asked.append(name) or serial)
    result, _ = run(root, "--boxes", coco(root.parent, BOXES), "--workers", 2, "--dry-run")
    assert result.exit_code == 0, result.stderr
    assert asked == [expected]
