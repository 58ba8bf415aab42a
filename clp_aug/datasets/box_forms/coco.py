"""READ: boxes of COCO's JSON: "images" with names, "annotations" with bbox [x, y, width, height] in pixels.

Layout: Lin et al. 2014, "Microsoft COCO", as its detection files are published.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clp_aug.contract.errors import InputError
from clp_aug.datasets.box_forms.found import Found, bytes_of, number, size_of
from clp_aug.datasets.names import shortened, shown

EXPECTED = 'an object with "images" (id, file_name) and "annotations" (image_id, bbox x, y, width, height)'


def read(path: Path, form: str) -> Iterator[Found]:
    """Yield the boxes of a COCO file. Raises InputError for a file that is no JSON or lacks a part that a box needs."""
    content = read_json(path)
    images = by_id(content, "images", path)
    kinds = by_id(content, "categories", path) if "categories" in content else {}
    for position, entry in enumerate(entries(content, "annotations", path)):
        where = f"{path} annotation {position}"
        image = images.get(key_of(entry.get("image_id"), where, "image_id"))
        if image is None:
            raise InputError(f'{where}: image_id {shown(entry["image_id"])} is of no entry of "images"; correct it')
        name, kind = image.get("file_name"), entry.get("category_id")
        if not isinstance(name, str):
            raise InputError(f"{path}: an image's file_name is {shown(name)}; expected a path")
        yield Found(
            name, corners(entry.get("bbox"), where), f"annotation {position}", name_of(kinds, kind),
            size_of(image.get("width"), image.get("height")),
        )  # fmt: skip


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON file's object. Raises InputError for anything else."""
    data = bytes_of(path, EXPECTED)
    try:
        content = json.loads(data)
    except ValueError as error:  # of the decoder, of the digits of a number, of JSON
        raise InputError(f"boxes {path}: not JSON ({shortened(error)}); save it again") from None
    except RecursionError:
        raise InputError(f"boxes {path}: nested too deep; expected {EXPECTED}") from None
    if not isinstance(content, dict) or "images" not in content or "annotations" not in content:
        there = ", ".join(map(shown, list(content)[:5])) if isinstance(content, dict) else type(content).__name__
        raise InputError(f"boxes {path}: {there or 'nothing'} at the top; expected {EXPECTED}")
    return content


def entries(content: dict[str, Any], part: str, path: Path) -> list[dict[str, Any]]:
    """Return a list of objects. Raises InputError for another type."""
    found = content[part]
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise InputError(f'boxes {path}: "{part}" is no list of objects; expected {EXPECTED}')
    return found


def by_id(content: dict[str, Any], part: str, path: Path) -> dict[str | int, dict[str, Any]]:
    """Return entries by their id. Raises InputError for an entry without id, and for an id that occurs twice."""
    result: dict[str | int, dict[str, Any]] = {}
    for position, entry in enumerate(entries(content, part, path)):
        key = key_of(entry.get("id"), f"{path} {part} {position}", "id")
        if key in result:
            raise InputError(f'boxes {path}: id {shown(key)} occurs twice in "{part}"; ids must differ')
        result[key] = entry
    return result


def key_of(value: object, where: str, name: str) -> str | int:
    """Return an id: a whole number or a text. Raises InputError for anything else."""
    if not isinstance(value, (int, str)) or isinstance(value, bool):
        raise InputError(f"{where}: {name} is {shown(value)}; expected a whole number or a text")
    return value


def corners(values: object, where: str) -> tuple[float, float, float, float]:
    """Return x0, y0, x1, y1, half open, of a bbox. Raises InputError for anything else."""
    if not isinstance(values, list) or len(values) != 4:
        raise InputError(f"{where}: bbox is {shown(values)}; expected [x, y, width, height]")
    names = ("x", "y", "width", "height")
    x, y, width, height = (number(value, name, where) for value, name in zip(values, names, strict=True))
    if width < 0 or height < 0:
        raise InputError(f"{where}: a bbox of {width:g} x {height:g}; expected sizes >= 0")
    return x, y, x + width, y + height


def name_of(kinds: dict[str | int, dict[str, Any]], key: object) -> str:
    """Return the name of a category, "" if unknown."""
    name = kinds.get(key, {}).get("name") if isinstance(key, (int, str)) else None
    return name if isinstance(name, str) else ""
