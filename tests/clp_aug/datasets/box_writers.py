"""Boxes written in the forms in which people keep them. A writer takes {picture: x0, y0, x1, y1}, returns a path."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

Boxes = Mapping[str, tuple[int, int, int, int]]
WIDTH, HEIGHT = 40, 30
Writer = Callable[[Path, Boxes], Path]


def table(
    header: str, row: Callable[[str, int, int, int, int], str], sign: str = ",", encoding: str = "utf-8",
    name: str = "boxes.csv",
) -> Writer:  # fmt: skip
    """Return a writer of tables. row: picture and corners -> a line with commas."""

    def write(place: Path, boxes: Boxes) -> Path:
        lines = [header, *(row(picture, *box) for picture, box in boxes.items())]
        (place / name).write_text("\n".join(lines).replace(",", sign) + "\n", encoding=encoding)
        return place / name

    return write


def corners(picture: str, x0: int, y0: int, x1: int, y1: int) -> str:
    return f"{picture},{x0},{y0},{x1},{y1}"


def sizes(picture: str, x0: int, y0: int, x1: int, y1: int) -> str:
    return f"{picture},{x0},{y0},{x1 - x0},{y1 - y0}"


def centres(picture: str, x0: int, y0: int, x1: int, y1: int) -> str:
    return f"{picture},{(x0 + x1) / 2},{(y0 + y1) / 2},{x1 - x0},{y1 - y0}"


def shares(picture: str, x0: int, y0: int, x1: int, y1: int) -> str:
    return f"{picture},{x0 / WIDTH:.6f},{y0 / HEIGHT:.6f},{x1 / WIDTH:.6f},{y1 / HEIGHT:.6f}"


def coco(place: Path, boxes: Boxes, bare: bool = False, text_ids: bool = False, encoding: str = "utf-8") -> Path:
    """Write COCO's JSON. bare: names without folders; text_ids: ids are texts, as some tools write them."""
    images, annotations = [], []
    for number, (picture, (x0, y0, x1, y1)) in enumerate(boxes.items(), 7):
        key = str(number) if text_ids else number
        name = PurePosixPath(picture).name if bare else picture
        images.append({"id": key, "file_name": name, "width": WIDTH, "height": HEIGHT})
        annotations.append({"id": number, "image_id": key, "category_id": 1, "bbox": [x0, y0, x1 - x0, y1 - y0]})
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "object"}]}
    (place / "instances.json").write_text(json.dumps(content), encoding=encoding)
    return place / "instances.json"


def yolo(place: Path, boxes: Boxes, bare: bool = False, end: str = "") -> Path:
    """Write YOLO's text files. bare: all in one folder; end: what follows a line."""
    for picture, (x0, y0, x1, y1) in boxes.items():
        path = place / "labels" / (PurePosixPath(picture).stem if bare else PurePosixPath(picture).with_suffix(""))
        path.parent.mkdir(parents=True, exist_ok=True)
        centre = f"{(x0 + x1) / 2 / WIDTH:.6f} {(y0 + y1) / 2 / HEIGHT:.6f}"
        line = f"0 {centre} {(x1 - x0) / WIDTH:.6f} {(y1 - y0) / HEIGHT:.6f}{end}\n"
        Path(f"{path}.txt").write_text(line)
    return place / "labels"


def yolo_polygon(place: Path, boxes: Boxes) -> Path:
    """Write YOLO's segmentations: the corners of a diamond, which touches each side of the box."""
    for picture, (x0, y0, x1, y1) in boxes.items():
        path = (place / "labels" / picture).with_suffix(".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        cx, cy = (x0 + x1) / 2, (y0 + y1) / 2
        points = [(x0, cy), (cx, y0), (x1, cy), (cx, y1)]
        path.write_text("3 " + " ".join(f"{x / WIDTH:.7f} {y / HEIGHT:.7f}" for x, y in points) + "\n")
    return place / "labels"


def voc(place: Path, boxes: Boxes, own_names: bool = False, encoding: str = "utf-8") -> Path:
    """Write VOC's XML files. own_names: files are called otherwise, and only <filename> says the picture."""
    for number, (picture, (x0, y0, x1, y1)) in enumerate(boxes.items()):
        path = (
            place / "Annotations" / (f"n{number}.xml" if own_names else f"{PurePosixPath(picture).with_suffix('')}.xml")
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            f'<?xml version="1.0" encoding="{encoding}"?><annotation><folder>x</folder><filename>{picture}</filename>'
            f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size><object><name>thing</name>"
            f"<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"
            f"<bndbox><xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
            "</annotation>",
            encoding=encoding,
        )
    return place / "Annotations"
