"""What h5py raises where a file cannot be read, and whether the disk or the file is at fault."""

from __future__ import annotations

import re

UNREADABLE = (OSError, KeyError, RuntimeError)
"""What h5py raises where a file cannot be read, by what it was looking for."""
UNCHECKED = (*UNREADABLE, ValueError, TypeError)
"""What it raises besides of a file whose structure nobody has checked: the types in it may be none."""
HDF5_CODE = re.compile(r"\berrno = (\d+)")


def errno_of(error: Exception) -> int | None:
    """Return the number of the disk's error, None where the disk did what it was asked and the file is at fault.

    Only an OSError has a number of its own; KeyError and RuntimeError have that of HDF5 in their text.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    code = HDF5_CODE.search(str(error)) if isinstance(error, UNREADABLE) else None
    return int(code[1]) if code else None
