"""Boxes that cannot be read, or that nobody can tell how to read: one line each, with place and expectation."""

import json

import pytest

from clp_aug.contract.errors import InputError, SettingError
from clp_aug.datasets.annotation_settings import AnnotationSettings
from clp_aug.datasets.annotations import with_given
from tests.clp_aug.datasets.test_box_forms import make_pictures

SIX = [1, 2, 3, 4]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return make_pictures(tmp_path_factory.mktemp("refused") / "root")


def read_all(pictures, path, settings):
    dataset = with_given(pictures, AnnotationSettings(boxes=path, **settings))
    return [dataset.box(row) for row in range(4)]


def refused(pictures, path, **settings):
    with pytest.raises(InputError) as raised:
        read_all(pictures, path, settings)
    message = str(raised.value)
    assert "\n" not in message
    assert len(message) < 600
    return message


TABLES = {
    "no header": ("cat/1.jpg,1,2,3,4\n", r"no header, the first line is cat/1.jpg,1,2,3,4; expected file,x0,y0,x1,y1"),
    "no picture": ("id,x0,y0,x1,y1\n1,1,2,3,4\n", "no column file in the header id, x0, y0, x1, y1; add it"),
    "no box": ("file,label\ncat/1.jpg,1\n", "no column x0, y0, x1, y1 in the header file, label; add it"),
    "half a box": ("file,xmin,xmax\ncat/1.jpg,1,2\n", "no column ymin, ymax in the header file, xmin, xmax; add it"),
    "two forms": ("file,x,y,w,h,x0,y0,x1,y1\ncat/1.jpg" + ",1" * 8 + "\n",
                  "the header has boxes twice, x0,y0,x1,y1 and x,y,w,h; choose one with --boxes-form"),
    "two spellings": ("file,xmin,ymin,xmax,ymax,x0,y0,x1,y1\ncat/1.jpg" + ",1" * 8 + "\n",
                      "the header has boxes twice, x0,y0,x1,y1 and xmin,ymin,xmax,ymax; keep one of them"),
    "a column twice": ("file,x0,y0,x1,y1,x0\ncat/1.jpg,1,2,3,4,5\n", "column x0 is in the header twice; keep one"),
    "shares": ("file,x0,y0,x1,y1\ncat/1.jpg,0.1,0.2,0.5,1\ncat/2.jpg,0,0,1,1\n",
               "line 2: box (0.1, 0.2, 0.5, 1.0), and all values are from 0 to 1; expected pixels: name the units,"
               " --boxes-units relative (fractions of the picture's sides) or pixels"),
    "a negative size": ("file,x,y,w,h\ncat/1.jpg,1,2,-3,4\n", "line 2: w and h are -3 and 4; expected sizes >= 0"),
    "far outside": ("file,x,y,w,h\ncat/1.jpg,10,2,32,4\n",
                    "box (10.0, 2.0, 42.0, 6.0) is not inside its 40 x 30 pixels"),
    "beside the picture": ("file,x0,y0,x1,y1\ncat/1.jpg,40.2,2,40.9,4\n", "is not inside its 40 x 30 pixels"),
    "a bare name of several": ("file,x0,y0,x1,y1\n1.jpg,1,2,3,4\n",
                               "line 2: '1.jpg' fits 2 pictures, cat/1.jpg and cow/1.jpg; expected a path such as"),
    "other names alone": ("file,x0,y0,x1,y1\na/1.jpg,1,2,3,4\na/2.jpg,1,2,3,4\n",
                          "line 2: no picture 'a/1.jpg' in the data set; expected a path such as cat/1.jpg; none of 2"),
    "several": ("file,x0,y0,x1,y1\n./cat/1.jpg,1,2,3,4\ncat/2.jpg,1,2,3,4\ncat/1.jpg,1,2,3,4\n",
                "line 4: cat/1.jpg has a box in line 2 already; keep one, or choose with --boxes-several union or"),
    "the size of other pictures": ("filename,width,height,xmin,ymin,xmax,ymax\ncat/1.jpg,80,60,1,2,3,4\n",
                                   "picture cat/1.jpg: 80 x 60 pixels by its boxes' file"),
    "a word": ("file,x,y,w,h\ncat/1.jpg,1,2,3,wide\n", "line 2: h is 'wide'; expected a number of pixels"),
    "another code": (b"file,x0,y0,x1,y1\ncaf\xe9,1,2,3,4\n", "not a CSV file in UTF-8"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "message"), TABLES.values(), ids=TABLES)
def test_tables(tmp_path, content, message):
    dataset = make_pictures(tmp_path / "root")
    if "several" in message or "fits 2" in message:
        (tmp_path / "root" / "cow").mkdir()
        (tmp_path / "root" / "cow" / "1.jpg").write_bytes((tmp_path / "root" / "cat" / "1.jpg").read_bytes())
        dataset = make_pictures(tmp_path / "root")
    (tmp_path / "b.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert message in refused(dataset, tmp_path / "b.csv")


IMAGE = {"id": 1, "file_name": "cat/1.jpg"}
BOX = {"image_id": 1, "bbox": [1, 2, 3, 4]}
JSON = {
    "no JSON": (b"{", "not JSON (Expecting property name"),
    "deep": (b"[" * 100_000, "nested too deep; expected an object with"),
    "many digits": (b'{"images": ' + b"9" * 5000 + b"}", "not JSON (Exceeds the limit"),
    "detections without pictures": ([{"image_id": 1, "bbox": SIX}], 'list at the top; expected an object with'),
    "another object": ({"info": {}}, "'info' at the top; expected an object with \"images\" (id, file_name) and"),
    "images that are none": ({"images": [1], "annotations": []}, '"images" is no list of objects'),
    "an id twice": ({"images": [IMAGE, IMAGE], "annotations": [BOX]}, 'id 1 occurs twice in "images"'),
    "an id that is none": ({"images": [{**IMAGE, "id": [1]}], "annotations": [BOX]}, "id is a list; expected a whole"),
    "an unknown picture": ({"images": [IMAGE], "annotations": [{**BOX, "image_id": 2}]},
                           'annotation 0: image_id 2 is of no entry of "images"'),
    "no bbox": ({"images": [IMAGE], "annotations": [{"image_id": 1}]}, "bbox is None; expected [x, y, width, height]"),
    "a bbox of words": ({"images": [IMAGE], "annotations": [{**BOX, "bbox": [1, 2, 3, "x"]}]},
                        "annotation 0: height is 'x'; expected a number of pixels"),
    "not a number": (b'{"images": [{"id": 1, "file_name": "cat/1.jpg"}], "annotations": [{"image_id": 1, "bbox":'
                     b" [NaN, 1, 2, 3]}]}", "annotation 0: x is nan; expected a number of pixels"),
    "a negative size": ({"images": [IMAGE], "annotations": [{**BOX, "bbox": [1, 2, 3, -1]}]}, "a bbox of 3 x -1; exp"),
    "no name": ({"images": [{"id": 1}], "annotations": [BOX]}, "an image's file_name is None; expected a path"),
    "shares": ({"images": [IMAGE], "annotations": [{**BOX, "bbox": [0.1, 0.1, 0.5, 0.5]}]}, "name the units, --boxes"),
    "other pixels": ({"images": [{**IMAGE, "width": 80, "height": 60}], "annotations": [BOX]},
                     "picture cat/1.jpg: 80 x 60 pixels by its boxes' file"),
    "nothing": ({"images": [IMAGE], "annotations": []}, "no box in it; expected one per picture"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "message"), JSON.values(), ids=JSON)
def test_coco(pictures, tmp_path, content, message):
    (tmp_path / "b.json").write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    assert message in refused(pictures, tmp_path / "b.json")


YOLO = {
    "pixels": ("0 12 13 20 20\n", "1.txt line 1: box (2.0, 3.0, 22.0, 23.0) of cat/1; expected fractions from 0 to 1"),
    "too few": ("0 0.5 0.5 0.5\n", "1.txt line 1: 4 values; expected lines class cx cy width height"),
    "words": ("\na cat on a mat\n", "1.txt line 2: class 'a'; expected lines class cx cy width height"),
    "a word": ("0 0.5 0.5 half 0.5\n", "line 1: value 4 is 'half'; expected a fraction of the picture's side"),
    "a negative size": ("0 0.5 0.5 -0.5 0.5\n", "line 1: width and height are -0.5 and 0.5; expected fractions >= 0"),
    "over the border": ("0 0.5 0.5 1.2 0.5\n", "is not inside its 40 x 30 pixels"),
    "another code": (b"0 caf\xe9\n", "1.txt: not UTF-8; expected lines class"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "message"), YOLO.values(), ids=YOLO)
def test_yolo(pictures, tmp_path, content, message):
    (tmp_path / "l" / "cat").mkdir(parents=True)
    (tmp_path / "l" / "cat" / "1.txt").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert message in refused(pictures, tmp_path / "l")


def test_yolo_classes_without_a_name(pictures, tmp_path):
    (tmp_path / "classes.txt").write_text("cat\n")
    (tmp_path / "1.txt").write_text("3 0.5 0.5 0.5 0.5\n")
    assert "class 3, but there are only 1 names in classes.txt or obj.names" in refused(pictures, tmp_path)


LAUGHS = '<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;">]>'
BNDBOX = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3</xmax>%s</bndbox>"
XML = {
    "no XML": ("cat 1 2 3 4", "1.xml: not an XML file of boxes (syntax error"),
    "a document type": (f"{LAUGHS}<annotation>&y;</annotation>", "(a document type, which may hide anything)"),
    "a document type in UTF-16": (f"{LAUGHS}<annotation>&y;</annotation>".encode("utf-16"), "(a document type, which"),
    "deep": ("<annotation>" + "<a>" * 200_000, "(elements more than 32 deep)"),
    "another code": ('<?xml version="1.0" encoding="nonsense"?><annotation/>', "not an XML file of boxes ("),
    "another file": ("<html/>", "html at the top; expected annotation/object/bndbox with xmin, ymin, xmax, ymax"),
    "no bndbox": ("<annotation><object><robndbox/></object></annotation>", "1.xml object 1: no bndbox; expected"),
    "a side lacks": (f"<annotation><object>{BNDBOX % ''}</object></annotation>",
                     "1.xml object 1: ymax is None; expected a number of pixels"),
    "a word": (f"<annotation><object>{BNDBOX % '<ymax>low</ymax>'}</object></annotation>", "ymax is 'low'; expected"),
    "inverted": (f"<annotation><object>{BNDBOX % '<ymax>0</ymax>'}</object></annotation>",
                 "object 1: box (0.0, 1.0, 3.0, 0.0) of cat/1; expected 0 <= x0 < x1"),
    "other pixels": ("<annotation><size><width>9</width><height>9</height></size><object>"
                     f"{BNDBOX % '<ymax>4</ymax>'}</object></annotation>", "9 x 9 pixels by its boxes' file"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "message"), XML.values(), ids=XML)
def test_voc(pictures, tmp_path, content, message):
    (tmp_path / "l" / "cat").mkdir(parents=True)
    (tmp_path / "l" / "cat" / "1.xml").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert message in refused(pictures, tmp_path / "l")


def test_folders_and_files_that_are_of_no_form(pictures, tmp_path):
    assert "no file in it; expected one .txt (yolo) or .xml (voc) file per picture" in refused(pictures, tmp_path)
    (tmp_path / "a.json").write_text("{}")
    assert "it holds a.json; expected one .txt (yolo) or .xml (voc) file" in refused(pictures, tmp_path)
    (tmp_path / "a.xml").write_text("<annotation/>")
    assert "one file of voc; give the folder that holds one per picture" in refused(pictures, tmp_path / "a.xml")
    (tmp_path / "a.txt").write_text("")
    assert "files of voc and yolo; choose one with --boxes-form" in refused(pictures, tmp_path)
    assert "no box in it; expected one per picture" in refused(pictures, tmp_path, boxes_form="yolo")
    assert "a folder; expected one file in the form coco" in refused(pictures, tmp_path, boxes_form="coco")
    assert "no folder; expected one with a .txt file per picture, as in yolo" in refused(
        pictures, tmp_path / "a.txt", boxes_form="yolo"
    )
    assert "no column x, y, w, h in the header file, x0" in refused_named(pictures, tmp_path)


def refused_named(pictures, place):
    (place / "b.csv").write_text("file,x0,y0,x1,y1\ncat/1.jpg,1,2,3,4\n")
    return refused(pictures, place / "b.csv", boxes_form="xywh")


SETTINGS = {
    "an unknown form": ({"boxes": "b", "boxes_form": "yollo"}, "boxes_form", "did you mean yolo? expected one of auto"),
    "a form of nothing": ({"boxes_form": "coco"}, "boxes_form", "it says how to read --boxes, which is not given"),
    "units of nothing": ({"masks": "m", "boxes_units": "pixels"}, "boxes_units", "it says how to read --boxes"),
    "a frame of nothing": ({"boxes": "b", "masks_frame": "stored"}, "masks_frame", "it says how to read --masks"),
    "numbers of soft masks": ({"masks": "m", "masks_object": "1"}, "masks_object", "it names numbers of index masks"),
    "numbers that are none": ({"masks": "m", "masks_form": "index", "masks_object": "1,dog"}, "masks_object",
                              "expected whole numbers separated by commas, for example 12,15"),
}  # fmt: skip


@pytest.mark.parametrize(("settings", "name", "reason"), SETTINGS.values(), ids=SETTINGS)
def test_settings_without_effect_and_values_that_are_none(tmp_path, settings, name, reason):
    paths = {key: tmp_path / value for key, value in settings.items() if key in ("masks", "boxes")}
    with pytest.raises(SettingError) as raised:
        AnnotationSettings(**{**settings, **paths})
    assert raised.value.name == name
    assert reason in raised.value.reason


def test_shares_of_yolo_are_no_pixels(pictures, tmp_path):
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(SettingError, match="values of yolo are fractions of the picture's sides; leave it out"):
        with_given(pictures, AnnotationSettings(boxes=tmp_path, boxes_units="pixels"))
