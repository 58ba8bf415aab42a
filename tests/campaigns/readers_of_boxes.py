"""Fuzzed readers of boxes and masks as people keep them: tables, COCO, YOLO, VOC, masks by number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from clp_aug.datasets import folder
from clp_aug.datasets.annotation_settings import AnnotationSettings
from clp_aug.datasets.annotation_words import INDEX, TRIMAP
from clp_aug.datasets.annotations import with_given
from clp_aug.datasets.mask_forms import MaskForm
from tests.campaigns.inputs import picture, save
from tests.campaigns.mutations import bytes_changed, json_changed, text_changed
from tests.campaigns.readers import Reader, digest
from tests.clp_aug.datasets import box_writers as writers

BOXES = {"cat/0.png": (1, 2, 9, 8), "cat/1.png": (0, 0, 40, 30), "dog/0.png": (39, 0, 40, 1)}
NAMES = sorted(BOXES)


def make(write: writers.Writer | Sequence[writers.Writer], place: Path, inputs: Path) -> list[bytes]:
    """Write pictures, and return their boxes in some forms."""
    for name in NAMES:
        save(place / "root" / name, np.zeros((writers.HEIGHT, writers.WIDTH, 3), np.uint8))
    return [one(place, BOXES).read_bytes() for one in (write if isinstance(write, Sequence) else [write])]


def make_one(write: writers.Writer, file: str, place: Path, inputs: Path) -> list[bytes]:
    """Write pictures, and return the file with the boxes of one, of a form with one a picture."""
    make((), place, inputs)
    return [(write(place, BOXES) / file).read_bytes()]


def read(path: Path, boxes: Path) -> str:
    """Attach boxes to the pictures and place them all."""
    dataset = with_given(folder.load(path.parent / "root", hold_out=False), AnnotationSettings(boxes=boxes))
    return digest(dataset.annotations_digest(), *(dataset.box(row, 16) for row in range(len(NAMES))))


def read_file(path: Path) -> str:
    """Read a file with all boxes."""
    return read(path, path)


def read_one(name: str) -> Callable[[Path], str]:
    """Return what reads a folder in which an input takes the place of one file."""

    def read_in_folder(path: Path) -> str:
        place = path.parent / f"only{path.suffix}"
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).with_suffix(path.suffix).write_bytes(path.read_bytes())
        return read(path, place)

    return read_in_folder


def make_masks(place: Path, inputs: Path) -> list[bytes]:
    """Return masks: numbers, a trimap, colours, a palette of VOC."""
    from PIL import Image

    numbers = (np.arange(64).reshape(8, 8) % 3 + 1).astype(np.uint8)
    palette = Image.fromarray(numbers, "P")
    palette.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 9, 9, 9])
    palette.save(place / "p.png")
    for name, values in {"n": numbers, "c": picture(0, 0)}.items():
        save(place / f"{name}.png", values)
    return [(place / f"{name}.png").read_bytes() for name in "pnc"]


def read_mask(path: Path) -> str:
    """Read a mask in the form that its length draws."""
    forms = (MaskForm(), MaskForm(INDEX), MaskForm(INDEX, (2, 3)), MaskForm(TRIMAP))
    data = path.read_bytes()
    return digest(forms[len(data) % len(forms)].read(data, str(path)))


TABLES = (
    writers.table("filename;xmin;ymin;xmax;ymax", writers.corners, ";"),
    writers.table("file,x,y,width,height", writers.sizes, encoding="utf-16"),
    writers.table("file\tcx\tcy\tw\th", writers.centres, "\t"),
)
READERS = {
    "box-table": Reader(partial(make, TABLES), "x.csv", text_changed, read_file),
    "coco": Reader(
        partial(make, (writers.coco, partial(writers.coco, text_ids=True))), "x.json", json_changed, read_file
    ),
    "yolo": Reader(partial(make_one, writers.yolo, "cat/1.txt"), "x.txt", text_changed, read_one("cat/1.txt")),
    "voc": Reader(partial(make_one, writers.voc, "cat/1.xml"), "x.xml", text_changed, read_one("cat/1.xml")),
    "voc-bytes": Reader(partial(make_one, writers.voc, "cat/1.xml"), "x.xml", bytes_changed, read_one("cat/1.xml")),
    "masks": Reader(make_masks, "x.png", bytes_changed, read_mask, complete=False),
}
