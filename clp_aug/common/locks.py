"""One run an output: a lock beside it, which the kernel frees when its process dies."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from clp_aug.common.files import check_name, disk_error
from clp_aug.contract.errors import UsageError


@contextmanager
def held_for(path: Path, what: str = "run", wait: bool = False, place: Path | None = None) -> Iterator[None]:
    """Hold the lock of an output, a file or a folder, whose own folder is made if need be.

    what: who else may hold it, for the message; wait: until that one has ended; place: of the lock, where it is not to
    lie beside the output. Raises UsageError when another process holds it, InputError when the disk refuses. A lock
    left by a process that is gone is taken over.
    """
    check_name(path)
    place = place or lock_of(path)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(place, timeout=-1 if wait else 0)
        lock.acquire()
    except Timeout:
        raise UsageError(f"another {what} is writing to {path}; wait for it to end, or choose another --out") from None
    except FileExistsError:
        raise disk_error(path, NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))) from None
    except OSError as error:
        raise disk_error(path, error) from None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # while it is held; a disk that became read-only keeps the file
            place.unlink()
        with contextlib.suppress(OSError):
            lock.release()


def is_held(place: Path) -> bool:
    """Tell whether a process holds the lock that lies at a place; one that a process left which is gone is removed.

    Raises InputError when the disk refuses.
    """
    if not place.exists():
        return False
    try:
        with held_for(place, place=place):
            return False
    except UsageError:
        return True


def lock_of(path: Path) -> Path:
    """Return where the lock of an output lies: a hidden file beside it."""
    return path.with_name(f".{path.name}.lock")
