"""READ: one box from a file of any form, and the numbers in such files."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from clp_aug.common.files import disk_error
from clp_aug.contract.errors import InputError
from clp_aug.datasets.names import is_file, shown

Corners = tuple[float, float, float, float]
"""x0, y0, x1, y1, half open: pixels, or fractions of the picture's sides."""
MOST_BYTES = 1 << 30  # of a file with all boxes
MOST_BYTES_OF_ONE = 1 << 24  # of a file with the boxes of one picture


@dataclass(frozen=True)
class Found:
    """One box. picture: the name of its picture, or its path without suffix if by_stem; box: x0, y0, x1, y1, half open;
    place: its place in the file, for messages; kind: the class name of its object, "" if unknown; size: (width, height)
    of the picture, as the file says; other: another name of the picture, or "".
    """

    picture: str
    box: Corners
    place: str
    kind: str = ""
    size: tuple[int, int] | None = None
    by_stem: bool = False
    other: str = ""


def number(value: object, name: str, where: str, unit: str = "a number of pixels") -> float:
    """Return a finite number that a file holds as text or as a number. Raises InputError for anything else."""
    result = math.nan
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        with suppress(ValueError, OverflowError):
            result = float(value)
    if not math.isfinite(result):
        raise InputError(f"{where}: {name} is {shown(value)}; expected {unit}")
    return result


def bytes_of(path: Path, expected: str, most: int = MOST_BYTES) -> bytes:
    """Return the bytes of a file. Raises InputError for a path that cannot be read, is no file or is far too large."""
    try:
        if path.exists() and not is_file(path):
            raise InputError(f"boxes {path}: it is no file; expected {expected}")
        if path.stat().st_size > most:
            raise InputError(f"boxes {path}: {path.stat().st_size:,} bytes, more than boxes need; expected {expected}")
        return path.read_bytes()
    except OSError as error:
        raise disk_error(path, error, "read") from None
    except ValueError as error:  # a name that no file can have
        raise InputError(f"cannot read {path} ({error}); expected {expected}") from None


def size_of(width: object, height: object) -> tuple[int, int] | None:
    """Return (width, height) of a picture if both values are whole numbers above 0, else None."""
    try:
        size = (int(float(width)), int(float(height)))  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return size if min(size) > 0 else None
