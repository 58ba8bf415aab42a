"""The errors that h5py raises if a file cannot be read, and whether the disk or the file is at fault."""

from __future__ import annotations

import re

UNREADABLE = (OSError, KeyError, RuntimeError)
"""What h5py raises if a file cannot be read; the type depends on what it was looking for."""
UNCHECKED = (*UNREADABLE, ValueError, TypeError)
"""What it raises in addition for a file with an unchecked structure: types in it may be invalid."""
HDF5_CODE = re.compile(r"\berrno = (\d+)")


def errno_of(error: Exception) -> int | None:
    """Return the number of the disk's error, None if the disk works and the file is at fault.

    Only an OSError has a number of its own; KeyError and RuntimeError have that of HDF5 in their text.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    code = HDF5_CODE.search(str(error)) if isinstance(error, UNREADABLE) else None
    return int(code[1]) if code else None
