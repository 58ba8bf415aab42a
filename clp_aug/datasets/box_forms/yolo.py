"""READ: boxes of YOLO: a folder with one text file per picture, one line per box: class cx cy width height, fractions
of the sides.

A line may end with a confidence. For segmentations and rotated boxes a line has the class and the corners x y of a
polygon; then the box around the polygon is read. classes.txt or obj.names in the folder has the names of the classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from clp_aug.contract.errors import InputError
from clp_aug.datasets.box_forms.found import MOST_BYTES_OF_ONE, Corners, Found, bytes_of, number
from clp_aug.datasets.names import files_below, shortened, shown

EXPECTED = "lines class cx cy width height, fractions of the picture's sides"
NAMES = ("classes.txt", "obj.names")
SHARE = "a fraction of the picture's side"


def read(path: Path, form: str) -> Iterator[Found]:
    """Yield the boxes of a folder, in the order of its files. Raises InputError, with file and line, for others."""
    names = class_names(path)
    for file in files_below(path):
        if file.suffix.lower() != ".txt" or file.name.startswith(".") or file == path / NAMES[0]:
            continue
        stem = file.relative_to(path).with_suffix("").as_posix()
        for line, values in enumerate(map(str.split, text_lines(file)), 1):
            if values:
                where = f"{file} line {line}"
                kind = kind_of(values[0], names, where)
                place = f"{file.relative_to(path).as_posix()} line {line}"
                yield Found(stem, corners(values[1:], where), place, kind, by_stem=True)


def text_lines(file: Path) -> list[str]:
    """Return the lines of a text file. Raises InputError for one that is not UTF-8."""
    try:
        return bytes_of(file, EXPECTED, MOST_BYTES_OF_ONE).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise InputError(f"boxes {file}: not UTF-8; expected {EXPECTED}") from None


def class_names(path: Path) -> list[str]:
    """Return the names of the classes by number; an empty list if no file has them."""
    file = next((path / name for name in NAMES if (path / name).is_file()), None)
    return [] if file is None else [line.strip() for line in text_lines(file) if line.strip()]


def kind_of(text: str, names: Sequence[str], where: str) -> str:
    """Return the name of a class by its number, "" without names. Raises InputError for any other text."""
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise InputError(f"{where}: class {shown(text)}; expected {EXPECTED}")
    if names and int(text) >= len(names):
        raise InputError(f"{where}: class {int(text)}, but there are only {len(names)} names in {' or '.join(NAMES)}")
    return names[int(text)] if names else ""


def corners(texts: Sequence[str], where: str) -> Corners:
    """Return the box of one line without its class: x0, y0, x1, y1 as fractions of the sides. Raises InputError for a
    malformed line.
    """
    values = [number(text, shortened(f"value {n}"), where, SHARE) for n, text in enumerate(texts, 2)]
    if len(values) in (4, 5):
        cx, cy, width, height = values[:4]
        if width < 0 or height < 0:
            raise InputError(f"{where}: width and height are {width:g} and {height:g}; expected fractions >= 0")
        return cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2
    if len(values) >= 6 and len(values) % 2 == 0:
        return min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])
    raise InputError(f"{where}: {len(texts) + 1} values; expected {EXPECTED}")
