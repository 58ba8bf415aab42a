"""Reading and writing at a place of an open file, also on systems without `pread` and `pwrite` (Windows)."""

from __future__ import annotations

import os
import threading
from pathlib import Path

_SEEKING = threading.Lock()
"""Held between a seek and what follows it: without `pread` all threads share one position in the file."""


def open_handle(path: Path) -> int:
    """Return a handle to read and write the bytes of a file as they are. Raises OSError when the disk refuses."""
    return os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))  # Windows would change line ends without O_BINARY


def read_at(handle: int, size: int, place: int) -> bytes:
    """Return at most `size` bytes from a place of a file; fewer at its end. Raises OSError when the disk refuses."""
    if hasattr(os, "pread"):
        return os.pread(handle, size, place)
    with _SEEKING:
        os.lseek(handle, place, os.SEEK_SET)
        return os.read(handle, size)


def write_at(handle: int, data: bytes | memoryview, place: int) -> int:
    """Write bytes to a place of a file; return how many the disk took. Raises OSError when the disk refuses."""
    if hasattr(os, "pwrite"):
        return os.pwrite(handle, data, place)
    with _SEEKING:
        os.lseek(handle, place, os.SEEK_SET)
        return os.write(handle, data)
