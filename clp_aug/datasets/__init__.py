"""READ: the registry of data sets. One file a source; a new one is one file and one line here."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clp_aug.common.plugins import Plugin, find, has_argument, is_code, label, parameters, short
from clp_aug.contract.errors import InputError, SettingError, pick
from clp_aug.datasets.names import is_folder

if TYPE_CHECKING:
    from clp_aug.datasets.base import Dataset

DATASETS = {
    "demo": "clp_aug.datasets.demo",
    "folder": "clp_aug.datasets.folder",
    "table": "clp_aug.datasets.table",
    "wds": "clp_aug.datasets.webdataset",
    "waterbirds": "clp_aug.datasets.waterbirds",
    "cifar10": "clp_aug.datasets.cifar10",
    "cifar100": "clp_aug.datasets.cifar100",
    "imagenet-lt": "clp_aug.datasets.lists:imagenet-lt",
    "places-lt": "clp_aug.datasets.lists:places-lt",
    "inaturalist18": "clp_aug.datasets.lists:inaturalist18",
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
    "imagenet-lt": "10/class",
    "places-lt": "10/class",
    "inaturalist18": "1/class",
    "imagenet-glt": "10/cluster",
    "imagenet-cbl": "10/cluster",
    "mscoco-glt": "10/cluster",
    "mscoco-cbl": "10/cluster",
    "generated-glt": "10/cluster",
    "generated-cbl": "10/cluster",
}
"""Name -> the meta set taken when none is asked for: ten a group where the set knows groups, else ten a class; of the
generalised long tail ten a cluster of a class; of iNaturalist, whose rarest class has two pictures, one a class. What
is not listed here takes ten a group or ten a class by what it knows: see `usual_meta`."""

META_FROM_VAL = (
    "imagenet-lt", "places-lt", "imagenet-glt", "imagenet-cbl", "mscoco-glt", "mscoco-cbl", "generated-glt",
    "generated-cbl",
)  # fmt: skip
"""Names whose meta set comes from val when nothing else is asked for: their tails are too short to give some away."""

SHARED_ROOTS = {"imagenet-cbl": "imagenet-glt", "mscoco-cbl": "mscoco-glt", "generated-cbl": "generated-glt"}
"""Name -> the data set that it shares its pictures, and so its default place, with."""

WITH_ATTRIBUTES = ("table", "wds")
"""Names whose pictures have attributes to choose groups by: their `load` takes them as `attributes`."""

WITH_PATTERN = "wds"
"""The name that may have a pattern of tar files behind a colon: its `load` takes the whole name as `name`."""


def find_root(name: str, root: Path | str | None) -> Path | None:
    """Return where a data set lies: `root`, else $CLP_DATA/<name>, else ./data/<name>; None for the built-in one.

    Names of SHARED_ROOTS have another one's place; what a pattern names may lie in the current folder, too. Raises
    InputError that lists the places looked at.
    """
    if name == "demo":
        return None
    if registered(name) == WITH_PATTERN:
        from clp_aug.datasets.tar_patterns import root_of

        return root_of(name, root)
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


def usual_meta(dataset: Dataset) -> str:
    """Return the meta set that a data set has when none is asked for."""
    return DEFAULT_META.get(dataset.name) or ("10/group" if dataset.group_names else "10/class")


def registered(name: str) -> str:
    """Return the name of a data set as DATASETS has it, without its pattern; others are returned as they are."""
    return name.partition(":")[0] if has_argument(name, "data set") else name


def short_of(name: str) -> str:
    """Return the name of a data set as a part of a file's name: of a plug-in what stands behind the colon, of a pattern
    what is the same in all files.
    """
    if registered(name) == WITH_PATTERN:
        from clp_aug.datasets.tar_patterns import short_of as short_of_pattern

        return short_of_pattern(name)
    return short(name)


def check_attributes(name: str, attributes: Sequence[str]) -> None:
    """Raise SettingError for attributes of a data set that has none to choose."""
    if attributes and registered(name) not in WITH_ATTRIBUTES:
        raise SettingError(
            "attributes", ",".join(attributes), f"data set {name} has no columns to choose groups by;"
            f" it is for {', '.join(WITH_ATTRIBUTES)}"
        )  # fmt: skip


def load_dataset(name: str, root: Path | str | None = None, attributes: Sequence[str] = ()) -> Dataset:
    """Return the data set of that name, or of a plug-in.

    attributes: of those of WITH_ATTRIBUTES, the columns whose values make groups with the labels. Raises UsageError for
    an unknown name and for attributes that it does not have, InputError for missing files.
    """
    check_attributes(name, attributes)
    plugin = plugin_of(name)
    if plugin is not None:
        return load_plugin(plugin, root)
    path, _, what = pick(DATASETS, registered(name), "data set").partition(":")
    load: Callable[..., Dataset] = importlib.import_module(path).load
    place = find_root(name, root)
    if registered(name) == WITH_PATTERN:
        return load(place, name, attributes)
    if name in WITH_ATTRIBUTES:
        return load(place, attributes)
    return load(place, what) if what else load(place)


def plugin_of(name: str) -> Plugin | None:
    """Return the plug-in that a name stands for, None for a registered one.

    Raises UsageError for an unknown name, and for a pattern that is none.
    """
    if registered(name) == WITH_PATTERN:
        from clp_aug.datasets.tar_patterns import parse

        parse(name)
    return find(DATASETS, name, "data set")


def load_plugin(plugin: Plugin, root: Path | str | None) -> Dataset:
    """Return the data set of a plug-in: a function or class, called with `root` if it has such a parameter, or an
    object; of ours, or a torch Dataset with labels. Its name is the plug-in's.

    Raises SettingError for a root that it does not take, InputError for one that is no folder, UsageError for an object
    of another kind and for what its code raises.
    """
    from clp_aug.datasets.base import Dataset

    is_class, is_sequence = isinstance(plugin.value, type), hasattr(plugin.value, "__getitem__")
    is_made = not callable(plugin.value) or (is_sequence and not is_class)
    if root is not None:
        if is_made or "root" not in parameters(plugin.value):
            raise SettingError("root", root, f"it has no effect: data set {plugin.name} takes no root")
        if not is_folder(Path(root)):
            raise InputError(f"data set {plugin.name}: no folder at {root}; give it with --root DIR")
    value = plugin.value if is_made else plugin.call_with(root=None if root is None else Path(root))
    if not isinstance(value, Dataset):
        from clp_aug.datasets.arrays import as_dataset

        value = plugin.call(as_dataset, value, label(plugin.name))
    dataset: Dataset = value
    dataset.name = label(plugin.name)
    return dataset


def named_dataset(recorded: str, given: str | None) -> str:
    """Return the name to load the data set of a shard by: the recorded one, or that of a plug-in which the user gives.

    A shard may come from somebody else, so no code is run that it alone names. Raises SettingError where the user has
    to name it, and for the name of another one.
    """
    if not is_code(recorded, "data set"):
        if given is not None and given != recorded:
            raise SettingError("dataset", given, f"the shard is of data set {recorded}; leave the setting out")
        return recorded
    if given is None:
        reason = "the shard's data set is a plug-in, whose code is run only if you name it, too"
        raise SettingError("dataset", None, reason, {"dataset": recorded})
    if label(given) != recorded:
        raise SettingError("dataset", given, f"the shard is of data set {recorded}; give the path of its file")
    return given
