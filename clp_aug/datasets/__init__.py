"""READ: the registry of data sets. One file a source; a new one is one file and one line here."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from clp_aug.contract.errors import InputError, pick
from clp_aug.datasets.names import is_folder

if TYPE_CHECKING:
    from clp_aug.datasets.base import Dataset

DATASETS = {
    "demo": "clp_aug.datasets.demo",
    "folder": "clp_aug.datasets.folder",
    "waterbirds": "clp_aug.datasets.waterbirds",
    "cifar10": "clp_aug.datasets.cifar10",
    "cifar100": "clp_aug.datasets.cifar100",
    "imagenet-glt": "clp_aug.datasets.glt:imagenet-glt",
    "imagenet-cbl": "clp_aug.datasets.glt:imagenet-cbl",
    "mscoco-glt": "clp_aug.datasets.glt:mscoco-glt",
    "mscoco-cbl": "clp_aug.datasets.glt:mscoco-cbl",
    "generated-glt": "clp_aug.datasets.glt:generated-glt",
    "generated-cbl": "clp_aug.datasets.glt:generated-cbl",
}
"""Name -> module with `load(root) -> Dataset`, or "module:what" with `load(root, what)`; modules load only when asked
for, so --help stays quick."""

DEFAULT_META = {
    "demo": "10/group",
    "folder": "10/class",
    "waterbirds": "10/group",
    "cifar10": "10/class",
    "cifar100": "10/class",
    "imagenet-glt": "10/cluster",
    "imagenet-cbl": "10/cluster",
    "mscoco-glt": "10/cluster",
    "mscoco-cbl": "10/cluster",
    "generated-glt": "10/cluster",
    "generated-cbl": "10/cluster",
}
"""Name -> the meta set taken when none is asked for: ten a group where the set knows groups, else ten a class; of the
generalised long tail ten a cluster of a class."""

META_FROM_VAL = ("imagenet-glt", "imagenet-cbl", "mscoco-glt", "mscoco-cbl", "generated-glt", "generated-cbl")
"""Names whose meta set comes from val when nothing else is asked for: their tails are too short to give some away."""

SHARED_ROOTS = {"imagenet-cbl": "imagenet-glt", "mscoco-cbl": "mscoco-glt", "generated-cbl": "generated-glt"}
"""Name -> the data set that it shares its pictures, and so its default place, with."""


def find_root(name: str, root: Path | str | None) -> Path | None:
    """Return where a data set lies: `root`, else $CLP_DATA/<name>, else ./data/<name>; None for the built-in one.

    Names of SHARED_ROOTS have another one's place. Raises InputError that lists the places looked at.
    """
    if name == "demo":
        return None
    if root is not None:
        places = [Path(root)]
    else:
        folder = SHARED_ROOTS.get(name, name)
        places = [Path(os.environ["CLP_DATA"]) / folder] if os.environ.get("CLP_DATA") else []
        places.append(Path("data") / folder)
    for place in places:
        if is_folder(place):
            return place
    raise InputError(f"data set {name}: no folder at {' or '.join(map(str, places))}; give it with --root DIR")


def load_dataset(name: str, root: Path | str | None = None) -> Dataset:
    """Return the data set of that name. Raises UsageError for an unknown name, InputError for missing files."""
    path, _, what = pick(DATASETS, name, "data set").partition(":")
    load: Callable[..., Dataset] = importlib.import_module(path).load
    place = find_root(name, root)
    return load(place, what) if what else load(place)
