"""Files that appear under their name only when they are complete."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clp_aug.contract.errors import InputError


@contextmanager
def written_beside(path: Path, synced: bool = True) -> Iterator[Path]:
    """Yield a temporary name beside `path`; on success it is synced and renamed, on failure removed.

    Without the sync, which costs milliseconds, the file survives a kill of the process but not a power cut.
    Raises InputError when the disk refuses (full, read-only, no such folder).
    """
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    try:
        yield temporary
        if synced:
            _sync(temporary)
        os.replace(temporary, path)
        if synced:
            _sync(path.parent)
    except OSError as error:
        raise InputError(f"cannot write {path} ({error.strerror or error}); free space or choose another") from None
    finally:
        temporary.unlink(missing_ok=True)


def move(path: Path, target: Path) -> None:
    """Sync a file and give it another name on the same disk, in one step: at any moment it has one of the two.

    Raises InputError when the disk refuses.
    """
    try:
        _sync(path)
        os.replace(path, target)
        _sync(target.parent)
    except OSError as error:
        raise InputError(f"cannot write {target} ({error.strerror or error}); free space or choose another") from None


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
