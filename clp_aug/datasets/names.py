"""READ: names from unknown sources, in tables and on disks: are they text, below a root, and do they exist?"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from clp_aug.common.files import disk_error
from clp_aug.common.text import printable
from clp_aug.contract.errors import InputError

LONGEST, LONGEST_PATH = 255, 4096  # bytes, of a name and of a path, as file systems have it
SHOWN, SHOWN_PATH = 80, 500  # letters of a foreign value, and of a path, in a message
ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL}
"""Errors of the disk that mean: no file has this name."""


def is_file(path: Path) -> bool:
    """Return whether a path is a file. Raises InputError if the disk cannot say: no permission, a broken disk."""
    return stat.S_ISREG(_mode(path))


def is_folder(path: Path) -> bool:
    """Return whether a path is a folder. Raises InputError if the disk cannot say: no permission, a broken disk."""
    return stat.S_ISDIR(_mode(path))


def _mode(path: Path) -> int:
    """Return the mode of a path, links followed; 0 if nothing is there."""
    try:
        return os.stat(path).st_mode
    except OSError as error:
        if error.errno not in ABSENT:
            raise disk_error(path, error, "read") from None
    except ValueError:  # a null character, or no UTF-8
        pass
    return 0


def files_below(folder: Path) -> list[Path]:
    """Return the files below a folder, at any depth, in the order of their paths.

    Links to folders are not followed. Broken links count as files: reading them later raises an error. Raises
    InputError for a folder that cannot be listed.
    """

    def refuse(error: OSError) -> None:
        raise disk_error(os.fsdecode(error.filename or folder), error, "read")

    paths = (Path(parent, name) for parent, _, names in os.walk(folder, onerror=refuse) for name in names)
    there = (path for path in paths if is_file(path) or path.is_symlink())
    return sorted(there, key=lambda path: path.parts)  # Windows itself would not tell a from A


def leads_out(name: str) -> bool:
    """Return whether a path in a table is absolute or goes up, and so may lead out of its folder."""
    path = Path(name)
    return path.is_absolute() or bool(path.drive or path.root) or name.startswith("/") or ".." in path.parts


def same_place(name: str) -> str:
    """Return a relative path spelt in one way: a//b and ./a/b are a/b."""
    return PurePosixPath(name).as_posix()


def check_names(names: Iterable[str], what: str, where: Path | str, longest: int = LONGEST) -> None:
    """Raise InputError for a name that shards, fingerprints and disks cannot hold: no UTF-8, or too long.

    what: kind of the names, "class" or "file"; where: the file or folder that has them; longest: in bytes.
    """
    for name in names:
        try:
            size = len(name.encode())
        except UnicodeEncodeError:  # lone surrogates: bytes that are no text, or half a character
            remedy = "rename it"
            if sys.getfilesystemencoding().lower() not in ("utf-8", "utf8"):  # then it may be the locale's fault
                remedy = "set PYTHONUTF8=1, or rename it"
            raise InputError(f"{where}: the {what} name {shown(name)} is not UTF-8; {remedy}") from None
        if size > longest:
            raise InputError(f"{where}: a {what} name of {size:,} bytes, {shown(name)}; expected at most {longest:,}")


def shown(value: object) -> str:
    """Return a value from a foreign file for a message: always one short line."""
    if not isinstance(value, (str, int, float, type(None))):
        return f"a {type(value).__name__}"
    try:
        return shortened(repr(value))
    except ValueError:
        return "a number of thousands of digits"


def shortened(text: object, most: int = SHOWN) -> str:
    """Return the beginning of a foreign text, or of an error that quotes one, on one line of at most `most` letters."""
    text = str(text)
    return printable(text if len(text) <= most else text[:most] + "...")


def short_path(name: str) -> str:
    """Return a foreign path for a message, cut only if it is very long."""
    return shortened(name, SHOWN_PATH)


def some(names: Iterable[str], count: int = 3) -> str:
    """Return the first few names as text, with "..." if there are more."""
    names = list(names)
    return printable(", ".join(map(shortened, names[:count])) + (", ..." if len(names) > count else ""))
