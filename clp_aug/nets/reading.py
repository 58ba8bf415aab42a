"""What all readers of network files share: bytes within bounds, and errors as one short line."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import zipfile

LINE = 200  # characters of what a library says
FACTOR, SPARE = 4, 2**26  # an archive may unpack to so many times its size, and so many bytes more, of code and tables


def read_bytes(path: Path, largest: int) -> bytes:
    """Return the bytes of a file. Raises what `check_size` raises."""
    check_size(path, largest)
    return path.read_bytes()


def check_size(path: Path, largest: int) -> int:
    """Return the bytes of a file that can be read. Raises ValueError, saying why, for one that cannot, or with more."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, io.SEEK_END)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"cannot read ({reason})") from None
    if size > largest:
        raise ValueError(f"{size} bytes, at most {largest} can be")
    return size


def first_line(error: Exception) -> str:
    """Return the first line of what an error says, its type where it says nothing; not too long."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:LINE]


def allowance(size: int) -> int:
    """Return how many bytes an archive of a size may unpack to."""
    return SPARE + FACTOR * size


def check_unpacked(members: Iterable[zipfile.ZipInfo], most: int) -> None:
    """Raise ValueError for members of an archive that unpack to more than so many bytes."""
    unpacked = sum(member.file_size for member in members)
    if unpacked > most:
        raise ValueError(f"unpacks to {unpacked} bytes, at most {most} can be")
