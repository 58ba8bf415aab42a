"""Presets: named settings in the TOML files beside this one, or in a file of the user's own.

A file has a table [settings]. It may have `extends`, the name of another preset: then it takes the settings of that
one, also those for one method, where it has none of its own. It may have a table [data]: the data sets that it is for
and, besides them, settings of the shard; a run on another shard is refused. Tables [methods.NAME] hold the settings of
one method that differ from the others' on these data. `about` and `device` say what it is for, see `presets.listing`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from clp_aug.common.plugins import is_own
from clp_aug.common.toml import named_files, read_named
from clp_aug.contract.errors import InputError, UsageError, pick
from clp_train.methods import METHODS
from clp_train.presets.aliases import with_stored_names

FOLDER = Path(__file__).parent
NO_PRESET = "no shipped preset fits it; drop --preset and pass settings with options or --set"


class Preset(NamedTuple):
    """settings: by key, as TOML gives them; data: {"dataset": names, other settings of the shard}, empty for any;
    methods: method -> settings that count before these.
    """

    settings: dict[str, Any]
    data: dict[str, Any]
    methods: dict[str, Any]


def names() -> tuple[str, ...]:
    """Return the presets that come with the package."""
    return named_files(FOLDER)


def read_preset(name: str) -> dict[str, Any]:
    """Return the settings of a preset by key, as TOML gives them, and its name as `preset`.

    name: one of `names()`, or a path that ends in .toml. Raises UsageError for an unknown name, InputError for a file
    that cannot be read.
    """
    return load_preset(name).settings | {"preset": name}


def read_method(name: str, method: str) -> dict[str, Any]:
    """Return the settings that a preset has for only one method, by key; name as for `read_preset`, which raises."""
    return load_preset(name).methods.get(method, {})


def load_preset(name: str) -> Preset:
    """Return a preset with what it extends; raises what `read_preset` raises."""
    path, content = read_file(name)
    base = content.get("extends")
    settings, data = content.get("settings", {} if base else None), content.get("data", {})
    methods = content.get("methods", {})
    if not isinstance(settings, dict):
        raise InputError(f"preset {path}: expected a table [settings] of key = value lines")
    if not isinstance(data, dict) or (data and not is_list_of_names(data.get("dataset"))):
        raise InputError(f'preset {path}: expected a table [data] with dataset = ["cifar10"], a list of names')
    if not isinstance(methods, dict) or not all(isinstance(table, dict) for table in methods.values()):
        raise InputError(f"preset {path}: expected tables [methods.NAME] of key = value lines")
    for method in methods:
        if not is_own(method, "method"):
            pick(METHODS, method, f"method of preset {path}")
    settings = with_stored_names(settings, f"preset {path}")
    methods = {
        method: with_stored_names(table, f"preset {path}", table.keys() if is_own(method, "method") else ())
        for method, table in methods.items()
    }
    if base is None:
        return Preset(settings, data, methods)
    if base not in names() or "extends" in read_file(base)[1]:
        raise InputError(f"preset {path}: extends {base!r}; expected a shipped preset that extends none")
    base_preset = load_preset(base)
    tables = {
        method: {key: value for key, value in base_preset.methods.get(method, {}).items() if key not in settings}
        | methods.get(method, {})
        for method in base_preset.methods | methods
    }
    return Preset(base_preset.settings | settings, data or base_preset.data, tables)


def read_file(name: str) -> tuple[Path, dict[str, Any]]:
    """Return the file of a preset and what TOML makes of it; raises what `read_preset` raises."""
    return read_named(name, FOLDER, "preset")


def is_list_of_names(value: object) -> bool:
    """Tell whether a value is a list of text, not empty."""
    return isinstance(value, list) and bool(value) and all(isinstance(name, str) for name in value)


def fits(data: Mapping[str, Any], dataset: str, settings: Mapping[str, Any]) -> bool:
    """Tell whether a shard of a data set, made with some settings, is what a preset's [data] asks for."""
    if not data:
        return True
    others = {key: value for key, value in data.items() if key != "dataset"}
    return dataset in data["dataset"] and all(settings.get(key) == value for key, value in others.items())


def check_shard(name: str, dataset: str, settings: Mapping[str, Any]) -> None:
    """Raise UsageError unless a preset is for the data set and the settings that a shard was made with.

    name: as for `read_preset`; dataset, settings: of the shard's header.
    """
    data = load_preset(name).data
    if fits(data, dataset, settings):
        return
    keys = [key for key in data if key != "dataset"]
    expected = [" or ".join(data["dataset"]), *(f"{key} {data[key]}" for key in keys)]
    actual = [dataset, *(f"{key} {settings.get(key)}" for key in keys)]
    others = [
        other for other in names() if (other_data := load_preset(other).data) and fits(other_data, dataset, settings)
    ]
    remedy = f"take {' or '.join(others)}" if others else NO_PRESET
    expected_text, actual_text = ", ".join(expected), ", ".join(actual)
    raise UsageError(f"preset {name} needs a shard of {expected_text}; this one is of {actual_text}: {remedy}")
