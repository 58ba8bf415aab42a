"""Common parts of all readers of network files: limits on bytes, and errors as one short line."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import zipfile

LINE = 200  # characters of a library's message
FACTOR, SPARE = 4, 2**26  # an archive may unpack to FACTOR times its size, plus SPARE bytes for code and tables


def read_bytes(path: Path, largest: int) -> bytes:
    """Return the bytes of a file. Raises the errors of `check_size`."""
    check_size(path, largest)
    return path.read_bytes()


def check_size(path: Path, largest: int) -> int:
    """Return the size of a file in bytes. Raises ValueError, with the reason, if it cannot be read or is too large."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, io.SEEK_END)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"cannot read ({reason})") from None
    if size > largest:
        raise ValueError(f"{size} bytes, expected at most {largest}")
    return size


def first_line(error: Exception) -> str:
    """Return the first line of an error's text, or its type if the text is empty; at most LINE characters."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:LINE]


def allowance(size: int) -> int:
    """Return the most bytes that an archive of a size may unpack to."""
    return SPARE + FACTOR * size


def check_unpacked(members: Iterable[zipfile.ZipInfo], most: int) -> None:
    """Raise ValueError for members of an archive that unpack to more than `most` bytes."""
    unpacked = sum(member.file_size for member in members)
    if unpacked > most:
        raise ValueError(f"unpacks to {unpacked} bytes, expected at most {most}")
