"""Presets: named settings in TOML files beside this one, or in a file of the user's.

A file has a table [settings]; it may name another preset that it `extends`, whose settings, those for one method too,
it takes where it has none of its own; and it may have a table [data]: the data sets that it is for and, beside them,
settings of the shard. A run on another shard is refused. Tables [methods.NAME] hold what one method alone has otherwise
on these data.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

from clp_aug.contract.errors import InputError, UsageError, pick
from clp_train.methods import METHODS

FOLDER = Path(__file__).parent


class Preset(NamedTuple):
    """settings: by key, as TOML gives them; data: {"dataset": names, other settings of the shard}, empty for any;
    methods: method -> settings that count before these.
    """

    settings: dict
    data: dict
    methods: dict


def names() -> tuple[str, ...]:
    """Return the presets that come with the package."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def read_preset(name: str) -> dict:
    """Return the settings of a preset by key, as TOML gives them, and its name as `preset`.

    name: one of `names()`, or a path that ends in .toml. Raises UsageError for an unknown name, InputError for a file
    that cannot be read.
    """
    return load_preset(name).settings | {"preset": name}


def read_method(name: str, method: str) -> dict:
    """Return the settings that a preset has for one method alone, by key; name as for `read_preset`, which raises."""
    return load_preset(name).methods.get(method, {})


def load_preset(name: str) -> Preset:
    """Return a preset with what it extends; raises what `read_preset` raises."""
    path, found = read_file(name)
    base = found.get("extends")
    settings, data = found.get("settings", {} if base else None), found.get("data", {})
    methods = found.get("methods", {})
    if not isinstance(settings, dict):
        raise InputError(f"preset {path}: expected a table [settings] of key = value lines")
    if not isinstance(data, dict) or (data and not is_list_of_names(data.get("dataset"))):
        raise InputError(f'preset {path}: expected a table [data] with dataset = ["cifar10"], a list of names')
    if not isinstance(methods, dict) or not all(isinstance(own, dict) for own in methods.values()):
        raise InputError(f"preset {path}: expected tables [methods.NAME] of key = value lines")
    for method in methods:
        pick(METHODS, method, f"method of preset {path}")
    if base is None:
        return Preset(settings, data, methods)
    if base not in names() or "extends" in read_file(base)[1]:
        raise InputError(f"preset {path}: extends {base!r}; expected a shipped preset that extends none")
    below = load_preset(base)
    both = {
        method: {key: value for key, value in below.methods.get(method, {}).items() if key not in settings}
        | methods.get(method, {})
        for method in below.methods | methods
    }
    return Preset(below.settings | settings, data or below.data, both)


def read_file(name: str) -> tuple[Path, dict]:
    """Return the file of a preset and what TOML makes of it."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    own = not name.endswith(".toml")
    if own and name not in names():
        raise UsageError(f"unknown preset {name!r}: choose one of {', '.join(names())}, or a file that ends in .toml")
    path = FOLDER / f"{name}.toml" if own else Path(name)
    try:
        return path, tomllib.loads(path.read_text())
    except OSError as error:
        raise InputError(f"cannot read preset {path} ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"preset {path}: not TOML ({error})") from None


def is_list_of_names(value: object) -> bool:
    """Tell whether a value is a list of text, not empty."""
    return isinstance(value, list) and bool(value) and all(isinstance(name, str) for name in value)


def fits(data: dict, dataset: str, settings: dict) -> bool:
    """Tell whether a shard of a data set, made with some settings, is what a preset's [data] asks for."""
    if not data:
        return True
    others = {key: value for key, value in data.items() if key != "dataset"}
    return dataset in data["dataset"] and all(settings.get(key) == value for key, value in others.items())


def check_shard(name: str, dataset: str, settings: dict) -> None:
    """Raise UsageError unless a preset is for the data set and the settings that a shard was made with.

    name: as for `read_preset`; dataset, settings: of the shard's header.
    """
    data = load_preset(name).data
    if fits(data, dataset, settings):
        return
    keys = [key for key in data if key != "dataset"]
    wanted = [" or ".join(data["dataset"]), *(f"{key} {data[key]}" for key in keys)]
    found = [dataset, *(f"{key} {settings.get(key)}" for key in keys)]
    others = [other for other in names() if (own := load_preset(other).data) and fits(own, dataset, settings)]
    remedy = f"take {' or '.join(others)}" if others else "there is none for this one; give the settings themselves"
    raise UsageError(f"preset {name}: it is for {', '.join(wanted)}; the shard is of {', '.join(found)}: {remedy}")
