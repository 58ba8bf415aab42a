"""READ: the registry of data sets. One file a source; a new one is one file and one line here."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

from clp_aug.contract.errors import InputError, pick

DATASETS = {
    "demo": "clp_aug.datasets.demo",
    "folder": "clp_aug.datasets.folder",
    "waterbirds": "clp_aug.datasets.waterbirds",
    "cifar10": "clp_aug.datasets.cifar10",
    "cifar100": "clp_aug.datasets.cifar100",
}
"""Name -> module with `load(root) -> Dataset`; modules load only when asked for, so --help stays quick."""

DEFAULT_META = {
    "demo": "10/group",
    "folder": "10/class",
    "waterbirds": "10/group",
    "cifar10": "10/class",
    "cifar100": "10/class",
}
"""Name -> the meta set taken when none is asked for: ten a group where the set knows groups, else ten a class."""


def find_root(name: str, root: Path | str | None) -> Path | None:
    """Return where a data set lies: `root`, else $CLP_DATA/<name>, else ./data/<name>; None for the built-in one.

    Raises InputError that lists the places looked at.
    """
    if name == "demo":
        return None
    if root is not None:
        places = [Path(root)]
    else:
        places = [Path(os.environ["CLP_DATA"]) / name] if os.environ.get("CLP_DATA") else []
        places.append(Path("data") / name)
    for place in places:
        if place.is_dir():
            return place
    raise InputError(f"data set {name}: no folder at {' or '.join(map(str, places))}; give it with --root DIR")


def load_dataset(name: str, root: Path | str | None = None):
    """Return the data set of that name. Raises UsageError for an unknown name, InputError for missing files."""
    module = importlib.import_module(pick(DATASETS, name, "data set"))
    return module.load(find_root(name, root))
