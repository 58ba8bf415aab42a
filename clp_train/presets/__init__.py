"""Presets: named settings in TOML files beside this one, or in a file of the user's."""

from __future__ import annotations

import sys
from pathlib import Path

from clp_aug.contract.errors import InputError, UsageError

FOLDER = Path(__file__).parent


def names() -> tuple[str, ...]:
    """Return the presets that come with the package."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def read_preset(name: str) -> dict:
    """Return the settings of a preset by key, as TOML gives them.

    name: one of `names()`, or a path that ends in .toml. Raises UsageError for an unknown name, InputError for a file
    that cannot be read.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    own = not name.endswith(".toml")
    if own and name not in names():
        raise UsageError(f"unknown preset {name!r}: choose one of {', '.join(names())}, or a file that ends in .toml")
    path = FOLDER / f"{name}.toml" if own else Path(name)
    try:
        found = tomllib.loads(path.read_text())
    except OSError as error:
        raise InputError(f"cannot read preset {path} ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"preset {path}: not TOML ({error})") from None
    settings = found.get("settings")
    if not isinstance(settings, dict):
        raise InputError(f"preset {path}: expected a table [settings] of key = value lines")
    return settings
