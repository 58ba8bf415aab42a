"""TOML files that come with the package by name, or lie where a path says."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from clp_aug.contract.errors import InputError, UsageError, suggestion

LEVELS = 100  # of tables within tables, far more than any file has


def named_files(folder: Path) -> tuple[str, ...]:
    """Return the names of a folder's TOML files, in the order of the alphabet."""
    return tuple(sorted(path.stem for path in folder.glob("*.toml")))


def read_named(name: str, folder: Path, what: str) -> tuple[Path, dict[str, Any]]:
    """Return the path of a file and what TOML makes of it.

    name: of a file in the folder, or a path that ends in .toml; what: what such a file is, for messages. Raises
    UsageError for an unknown name, InputError for a file that cannot be read.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    names = named_files(folder)
    shipped = not name.endswith(".toml")
    if shipped and name not in names:
        hint = suggestion(names, name)
        raise UsageError(
            f"unknown {what} {name!r}: {hint}choose one of {', '.join(names)}, or a file that ends in .toml"
        )
    path = folder / f"{name}.toml" if shipped else Path(name)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {what} {path} ({error.strerror})") from None
    except ValueError as error:  # a null character, or no UTF-8, in its name
        raise InputError(f"cannot read {what} {str(path)!a} ({error})") from None
    try:
        content = tomllib.loads(data.decode())
        check_values(content)
        return path, content
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError; numbers of more digits than Python reads
        raise InputError(f"{what} {path}: not TOML ({error})") from None
    except RecursionError:
        raise InputError(f"{what} {path}: nested too deep; expected tables of key = value lines") from None


def check_values(content: object, levels: int = LEVELS) -> None:
    """Raise for what TOML may hold and no setting can be, which later could not even be shown.

    ValueError for a whole number beyond floats, RecursionError for more than so many levels of tables and lists.
    """
    if not levels:
        raise RecursionError
    if isinstance(content, (dict, list)):
        for value in content.values() if isinstance(content, dict) else content:
            check_values(value, levels - 1)
    elif type(content) is int and abs(content) > sys.float_info.max:
        raise ValueError(f"a whole number of {content.bit_length():,} bits")
