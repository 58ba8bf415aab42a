"""TOML files that come with the package by name, or lie where a path says."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from clp_aug.contract.errors import InputError, UsageError, suggestion

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def named_files(folder: Path) -> tuple[str, ...]:
    """Return the names of a folder's TOML files, in the order of the alphabet."""
    return tuple(sorted(path.stem for path in folder.glob("*.toml")))


def read_named(name: str, folder: Path, what: str) -> tuple[Path, dict[str, Any]]:
    """Return the path of a file and what TOML makes of it.

    name: of a file in the folder, or a path that ends in .toml; what: what such a file is, for messages. Raises
    UsageError for an unknown name, InputError for a file that cannot be read.
    """
    names = named_files(folder)
    shipped = not name.endswith(".toml")
    if shipped and name not in names:
        hint = suggestion(names, name)
        raise UsageError(
            f"unknown {what} {name!r}: {hint}choose one of {', '.join(names)}, or a file that ends in .toml"
        )
    path = folder / f"{name}.toml" if shipped else Path(name)
    try:
        return path, tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {what} {path} ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{what} {path}: not TOML ({error})") from None
