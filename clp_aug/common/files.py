"""Files that appear under their name only when they are complete, and what a disk that refuses is told as."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clp_aug.contract.errors import InputError

TEMPORARY = ".tmp-"  # what stands between a file's name and the random part of its temporary one
RANDOM = re.compile("[0-9a-f]{16}")
UNSYNCED = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
"""What fsync says where the file system has none."""
UNSYNCED_FOLDER = UNSYNCED | {errno.EACCES, errno.EPERM, errno.EBADF, errno.EISDIR}
"""What opening or syncing a folder says where that cannot be done: network shares, virtual machines, Windows."""
REMEDIES = {
    errno.ENOSPC: "free some space or choose another place",
    errno.EDQUOT: "free some space or choose another place",
    errno.EFBIG: "choose a place that takes larger files",
    errno.EROFS: "choose a place that can be written",
    errno.EACCES: "allow it or choose another place",
    errno.EPERM: "allow it or choose another place",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "close other programs: the machine has no open files left",
    errno.EIO: "look at the disk, or choose another",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOTDIR: "a part of the path is a file; choose another place",
    errno.ENOENT: "make the folder or choose another place",
    errno.EISDIR: "a folder has this name; choose another",
    errno.EEXIST: "choose another name",
    errno.ENOMEM: "free some memory",
}


def disk_error(path: Path | str, error: OSError | ValueError, doing: str = "write") -> InputError:
    """Return one line of what the disk refused, with the remedy that fits.

    doing: "write", "read", "make" ...; a ValueError says that a name has a character that no file can have.
    """
    code = error.errno if isinstance(error, OSError) else None
    reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
    remedy = REMEDIES.get(code or 0, "choose another place" if code else "choose another name")
    return InputError(f"cannot {doing} {os.fspath(path)} ({reason}); {remedy}")


@contextmanager
def disk_errors(path: Path, doing: str = "write") -> Iterator[None]:
    """Tell what the disk refuses within in one line: of the file at fault, or of `path` where none is named.

    Raises InputError, see `disk_error`.
    """
    try:
        yield
    except OSError as error:
        named = error.filename if isinstance(error.filename, (str, bytes)) else path
        raise disk_error(os.fsdecode(named), error, doing) from None


@contextmanager
def written_beside(path: Path, synced: bool = True) -> Iterator[Path]:
    """Yield a temporary name beside `path`; on success it is synced and renamed, on failure removed.

    Without the sync, which costs milliseconds, the file survives a kill of the process but not a power cut.
    Raises InputError when the disk refuses (full, read-only, no such folder, a name that is too long).
    """
    check_name(path)
    temporary = temporary_name(path)
    try:
        yield temporary
        if synced:
            sync(temporary)
        os.replace(temporary, path)
        if synced:
            sync(path.parent)
    except OSError as error:
        raise disk_error(path, error) from None
    finally:
        with contextlib.suppress(OSError, ValueError):  # a disk that became read-only keeps it; the first error counts
            temporary.unlink(missing_ok=True)


def check_name(path: Path) -> None:
    """Raise InputError for a path without a name, or with a character that no file can have."""
    if not path.name:
        raise disk_error(path, ValueError("it has no name of its own"))
    try:
        if b"\0" in os.fsencode(path):
            raise disk_error(path, ValueError("it has a null character"))
    except UnicodeEncodeError:
        raise disk_error(path, ValueError("it is not UTF-8")) from None


def temporary_name(path: Path) -> Path:
    """Return a name beside `path` that no other process takes, on this machine or on another."""
    import secrets

    return path.with_name(f"{path.name}{TEMPORARY}{secrets.token_hex(8)}")


def is_temporary(name: str, path: Path) -> bool:
    """Whether a name is one that `temporary_name` gives for `path`."""
    start, _, random = name.rpartition(TEMPORARY)
    return start == path.name and RANDOM.fullmatch(random) is not None


def remove_leftovers(path: Path) -> None:
    """Remove what killed runs left beside `path`; only for who holds its lock: others may still be writing theirs."""
    with contextlib.suppress(OSError, ValueError):
        for name in os.listdir(path.parent):
            if is_temporary(name, path):
                with contextlib.suppress(OSError):
                    os.unlink(path.parent / name)


def move(path: Path, target: Path) -> None:
    """Sync a file and give it another name on the same disk, in one step: at any moment it has one of the two.

    Raises InputError when the disk refuses.
    """
    try:
        sync(path)
        os.replace(path, target)
        sync(target.parent)
    except OSError as error:
        raise disk_error(target, error) from None


def sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk. Where a file system cannot do that, nothing is done.

    Raises OSError when the disk refuses.
    """
    folder = os.path.isdir(path)
    handle = None
    try:
        handle = os.open(path, os.O_RDONLY if folder or os.name != "nt" else os.O_RDWR)
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (UNSYNCED_FOLDER if folder else UNSYNCED):
            raise
    finally:
        if handle is not None:
            os.close(handle)
