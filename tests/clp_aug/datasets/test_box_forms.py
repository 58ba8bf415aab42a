"""Boxes in the forms in which people keep them: the same boxes come out of all of them, in the pixels that are read."""

import hashlib
import json
from functools import partial

import numpy as np
import pytest
from PIL import Image

from clp_aug.contract.images import Geometry
from clp_aug.datasets import folder
from clp_aug.datasets.annotation_settings import AnnotationSettings
from clp_aug.datasets.annotations import with_given
from tests.clp_aug.datasets import box_writers as writers
from tests.clp_aug.datasets.box_writers import HEIGHT, WIDTH, centres, corners, shares, sizes, table

NAMES = ["cat/1.jpg", "cat/2.jpg", "dog/3.jpg", "dog/4.png"]
BOXES = {"cat/1.jpg": (3, 4, 20, 21), "dog/3.jpg": (0, 0, 40, 30), "dog/4.png": (39, 1, 40, 2)}
SHARES = {"boxes_units": "relative"}


def make_pictures(root):
    for name in NAMES:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT)).save(path)
    return folder.load(root)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return make_pictures(tmp_path_factory.mktemp("boxed") / "root")


def read(dataset, path, **settings):
    return with_given(dataset, AnnotationSettings(boxes=path, **settings))


def renamed(write, name):
    """Return a writer that calls pictures otherwise."""
    return lambda place, boxes: write(place, {name(picture): box for picture, box in boxes.items()})


OWN = table("file,x0,y0,x1,y1", corners)
FORMS = {
    "our own": (OWN, {}),
    "xmin, ymin, xmax, ymax": (table("filename,xmin,ymin,xmax,ymax", corners), {}),
    "x_min, y_min": (table("image,x_min,y_min,x_max,y_max", corners), {}),
    "x1, y1, x2, y2": (table("path,x1,y1,x2,y2", corners), {}),
    "left, top, right, bottom": (table("img,left,top,right,bottom", corners), {}),
    "x, y, w, h": (table("file,x,y,w,h", sizes), {}),
    "x, y, width, height": (table("image_name,x,y,width,height", sizes), {}),
    "left, top, width, height": (table("file_name,left,top,width,height", sizes), {}),
    "centres": (table("file,cx,cy,w,h", centres), {}),
    "centres, spelt out": (table("file,x_center,y_center,width,height", centres), {}),
    "columns of TensorFlow": (
        table("filename,width,height,class,xmin,ymin,xmax,ymax",
              lambda name, *box: f"{name},{WIDTH},{HEIGHT},thing,{','.join(map(str, box))}"), {},
    ),
    "columns in another order": (
        table("y1,x1,note,y0,x0,file", lambda name, x0, y0, x1, y1: f"{y1},{x1},q,{y0},{x0},{name}"), {},
    ),
    "semicolons": (table("file,x0,y0,x1,y1", corners, ";"), {}),
    "tabs": (table("file,x0,y0,x1,y1", corners, "\t", name="boxes.tsv"), {}),
    "blanks behind commas": (table("file,x0,y0,x1,y1", corners, ", "), {}),
    "capitals and blanks in the header": (table(" File , XMin,YMin , XMax,YMAX", corners), {}),
    "byte order mark": (table("file,x0,y0,x1,y1", corners, encoding="utf-8-sig"), {}),
    "UTF-16": (table("file,x0,y0,x1,y1", corners, "\t", encoding="utf-16"), {}),
    "decimals": (table("file,x0,y0,x1,y1", lambda name, *box: f"{name},{','.join(f'{v:.3f}' for v in box)}"), {}),
    "quoted": (table('"file","x0","y0","x1","y1"', lambda name, *b: f'"{name}",' + ",".join(f'"{v}"' for v in b)), {}),
    "backslashes": (renamed(OWN, lambda name: name.replace("/", "\\")), {}),
    "./": (renamed(OWN, "./{}".format), {}),
    "names without folders": (renamed(OWN, lambda name: name.split("/")[1]), {}),
    "shares of the sides": (table("file,x0,y0,x1,y1", shares), SHARES),
    "COCO": (writers.coco, {}),
    "COCO, names without folders": (partial(writers.coco, bare=True), {}),
    "COCO, ids as text": (partial(writers.coco, text_ids=True), {}),
    "COCO, UTF-16": (partial(writers.coco, encoding="utf-16"), {}),
    "YOLO": (writers.yolo, {}),
    "YOLO in one folder": (partial(writers.yolo, bare=True), {}),
    "YOLO with confidences": (partial(writers.yolo, end=" 0.913"), {}),
    "YOLO polygons": (writers.yolo_polygon, {}),
    "VOC": (writers.voc, {}),
    "VOC by <filename>": (partial(writers.voc, own_names=True), {}),
    "VOC, UTF-16": (partial(writers.voc, encoding="utf-16"), {}),
}  # fmt: skip
NAMED = {"xyxy": OWN, "xywh": table("file,x,y,w,h", sizes), "cxcywh": table("file,cx,cy,w,h", centres),
         "coco": writers.coco, "yolo": writers.yolo, "voc": writers.voc}  # fmt: skip


@pytest.mark.parametrize(("write", "settings"), FORMS.values(), ids=FORMS)
def test_the_same_boxes_in_every_form(pictures, tmp_path, write, settings):
    annotated = read(pictures, write(tmp_path, BOXES), **settings)
    assert [annotated.box(row) for row in range(4)] == [BOXES.get(name) for name in NAMES]
    geometry = Geometry.of(WIDTH, HEIGHT, 16)
    at_16 = [geometry.map_box(BOXES[name]) if name in BOXES else None for name in NAMES]
    assert [annotated.box(row, 16) for row in range(4)] == at_16
    assert annotated.remarks == pictures.remarks


@pytest.mark.parametrize(("form", "write"), NAMED.items(), ids=NAMED)
def test_a_form_may_be_named(pictures, tmp_path, form, write):
    annotated = read(pictures, write(tmp_path, BOXES), boxes_form=form)
    assert annotated.box(0) == BOXES["cat/1.jpg"]


def test_absolute_paths_below_the_root(pictures, tmp_path):
    path = renamed(OWN, lambda name: str(pictures.root / name))(tmp_path, BOXES)
    assert read(pictures, path).box(0) == BOXES["cat/1.jpg"]


def test_boxes_of_two_columns_count_as_the_named_ones(pictures, tmp_path):
    (tmp_path / "b.csv").write_text("file,x,y,w,h,xmin,ymin,xmax,ymax\ncat/1.jpg,1,2,3,4,5,6,7,8\n")
    assert read(pictures, tmp_path / "b.csv", boxes_form="xyxy").box(0) == (5, 6, 7, 8)
    assert read(pictures, tmp_path / "b.csv", boxes_form="xywh").box(0) == (1, 2, 4, 6)


WRITERS = {name: FORMS[name] for name in (
    "our own", "x, y, w, h", "centres", "shares of the sides", "COCO", "YOLO", "YOLO polygons", "VOC",
)}  # fmt: skip


@pytest.mark.parametrize(("write", "settings"), WRITERS.values(), ids=WRITERS)
def test_many_random_boxes_come_back_from_every_form(tmp_path, write, settings):
    rng = np.random.default_rng(0)
    names = [f"c{number % 3}/{number}.png" for number in range(60)]
    for name in names:
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("1", (WIDTH, HEIGHT)).save(tmp_path / "root" / name)
    x0, y0 = rng.integers(0, WIDTH, 60), rng.integers(0, HEIGHT, 60)
    x1, y1 = rng.integers(x0 + 1, WIDTH + 1), rng.integers(y0 + 1, HEIGHT + 1)
    every = dict(zip(names, zip(*(v.tolist() for v in (x0, y0, x1, y1)), strict=True), strict=True))
    boxes = {name: every[name] for name in rng.permutation(names)[:50]}
    dataset = folder.load(tmp_path / "root", hold_out=False)
    annotated = read(dataset, write(tmp_path, boxes), **settings)
    assert {name: annotated.box(row) for row, name in enumerate(dataset.samples.name) if name in boxes} == boxes
    assert len(annotated.annotations.boxes) == 50


def detections(place, objects):
    """Write COCO's JSON with several objects a picture: (picture, category, bbox)."""
    images = [{"id": i, "file_name": name} for i, name in enumerate(NAMES)]
    kinds = sorted({kind for _, kind, _ in objects})
    annotations = [
        {"image_id": NAMES.index(name), "category_id": kinds.index(kind), "bbox": box} for name, kind, box in objects
    ]
    categories = [{"id": i, "name": kind} for i, kind in enumerate(kinds)]
    (place / "d.json").write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return place / "d.json"


TWO = [("cat/1.jpg", "bird", [2, 2, 4, 4]), ("cat/1.jpg", "bird", [10, 8, 10, 6]), ("cat/1.jpg", "bird", [1, 1, 0, 9])]


@pytest.mark.parametrize(("several", "box", "words"), [
    (None, (2, 2, 20, 14), "the box around them all counts"),
    ("union", (2, 2, 20, 14), "the box around them all counts"),
    ("largest", (10, 8, 20, 14), "the largest counts"),
])  # fmt: skip
def test_several_objects_of_a_picture(pictures, tmp_path, several, box, words):
    annotated = read(pictures, detections(tmp_path, TWO), boxes_several=several)
    assert annotated.box(0) == box
    assert annotated.remarks[-1].startswith(f"boxes {tmp_path / 'd.json'}: pictures with several, {words}")
    assert annotated.remarks[-1].endswith(": 1 (cat/1.jpg)")


def test_several_lines_of_a_table_count_where_that_is_said(pictures, tmp_path):
    (tmp_path / "b.csv").write_text("file,xmin,ymin,xmax,ymax\ncat/1.jpg,2,2,6,6\ncat/1.jpg,5,1,9,3\n")
    assert read(pictures, tmp_path / "b.csv", boxes_several="union").box(0) == (2, 1, 9, 6)


def test_of_objects_those_of_the_class_of_the_picture_count(pictures, tmp_path):
    objects = [
        ("cat/1.jpg", "Cat", [2, 2, 4, 4]),
        ("cat/1.jpg", "sofa", [0, 0, 40, 30]),
        ("dog/3.jpg", "sofa", [1, 1, 9, 9]),
    ]
    annotated = read(pictures, detections(tmp_path, objects))
    assert [annotated.box(row) for row in (0, 2)] == [(2, 2, 6, 6), (1, 1, 10, 10)]
    assert "pictures with boxes of other classes, which are ignored: 1 (cat/1.jpg)" in annotated.remarks[-1]


def test_yolo_says_its_classes_by_number(pictures, tmp_path):
    path = writers.yolo(tmp_path, BOXES)
    (path / "cat" / "1.txt").write_text("1 0.5 0.5 0.5 0.5\n\n0 0.5 0.5 1 1\n")
    assert read(pictures, path).box(0) == (0, 0, 40, 30)
    (path / "classes.txt").write_text("sofa\ncat\n")
    assert read(pictures, path).box(0) == (10, 7, 30, 23)  # outwards from 7.5 and 22.5


def test_names_of_no_picture_are_counted(pictures, tmp_path):
    more = {**BOXES, "cat/9.jpg": (0, 0, 5, 5), "cow/1.jpg": (0, 0, 5, 5)}
    for write in (OWN, writers.coco, writers.yolo, writers.voc):
        annotated = read(pictures, write(tmp_path, more))
        assert annotated.box(0) == BOXES["cat/1.jpg"]
        assert "names of unknown pictures: 2 (cat/9" in annotated.remarks[-1]


def test_boxes_up_to_a_pixel_over_the_border_are_clipped(pictures, tmp_path):
    (tmp_path / "b.csv").write_text(
        "file,x0,y0,x1,y1\ncat/1.jpg,-1,2,41,30.5\ncat/2.jpg,0,0,40,30\ndog/3.jpg,0,0,40.0000001,30\n"
    )
    annotated = read(pictures, tmp_path / "b.csv")
    assert [annotated.box(row) for row in range(3)] == [(0, 2, 40, 30), (0, 0, 40, 30), (0, 0, 40, 30)]
    assert [annotated.placed_box(row).clipped for row in range(3)] == [True, False, False]


def test_how_boxes_are_meant_counts_in_the_digest_and_plain_boxes_as_ever(pictures, tmp_path):
    path = OWN(tmp_path, {"cat/2.jpg": (0, 0, 1, 2)})
    plain, *others = (
        read(pictures, path, **settings).annotations_digest()
        for settings in ({}, {"boxes_frame": "stored"}, {"boxes_units": "relative"}, {"boxes_form": "xyxy"})
    )
    assert plain == hashlib.sha256(b"([], [(1, (0.0, 0.0, 1.0, 2.0))])").hexdigest()
    assert len({plain, *others}) == 3, "which form they had does not matter"
