"""READ: the registry of data sets. One file per source; a new one needs one file and one line here."""

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
"""Name -> module with `load(root) -> Dataset`, or "module:what" with `load(root, what)`; modules load only when needed,
so --help stays quick.
"""

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
"""Name -> the default meta set: ten per group if the set has groups, else ten per class; for the generalised long tail
ten per cluster of a class; for iNaturalist one per class, because its rarest class has two pictures. Data sets that are
not listed take ten per group or per class: see `usual_meta`.
"""

META_FROM_VAL = (
    "imagenet-lt", "places-lt", "imagenet-glt", "imagenet-cbl", "mscoco-glt", "mscoco-cbl", "generated-glt",
    "generated-cbl",
)  # fmt: skip
"""Names of data sets that take their meta set from val by default: their tails are too short to give pictures away."""

SHARED_ROOTS = {"imagenet-cbl": "imagenet-glt", "mscoco-cbl": "mscoco-glt", "generated-cbl": "generated-glt"}
"""Name -> the data set with the same pictures, and so with the same default folder."""

WITH_ATTRIBUTES = ("table", "wds")
"""Names of data sets with attributes that can form groups: their `load` takes `attributes`."""

WITH_PATTERN = "wds"
"""The name that may have a pattern of tar files after a colon: its `load` takes the whole name as `name`."""


def find_root(name: str, root: Path | str | None) -> Path | None:
    """Return the folder of a data set: `root`, else $CLP_DATA/<name>, else ./data/<name>; None for the built-in one.

    Names of SHARED_ROOTS use the folder of another set; files of a pattern may also be in the current folder. Raises
    InputError that lists the folders that were tried.
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
    """Return the default meta set of a data set."""
    return DEFAULT_META.get(dataset.name) or ("10/group" if dataset.group_names else "10/class")


def registered(name: str) -> str:
    """Return the name of a data set as in DATASETS, without its pattern; other names are returned as they are."""
    return name.partition(":")[0] if has_argument(name, "data set") else name


def short_of(name: str) -> str:
    """Return the name of a data set as a part of a file's name: for a plug-in the part after the colon, for a pattern
    the part that is the same in all files.
    """
    if registered(name) == WITH_PATTERN:
        from clp_aug.datasets.tar_patterns import short_of as short_of_pattern

        return short_of_pattern(name)
    return short(name)


def check_attributes(name: str, attributes: Sequence[str]) -> None:
    """Raise SettingError for attributes of a data set without any."""
    if attributes and registered(name) not in WITH_ATTRIBUTES:
        raise SettingError(
            "attributes", ",".join(attributes), f"data set {name} has no columns to choose groups by;"
            f" it is for {', '.join(WITH_ATTRIBUTES)}"
        )  # fmt: skip


def load_dataset(name: str, root: Path | str | None = None, attributes: Sequence[str] = ()) -> Dataset:
    """Return the data set of that name, or of a plug-in.

    attributes: for those of WITH_ATTRIBUTES, the columns whose values form groups with the labels. Raises UsageError
    for an unknown name and for attributes that the set does not have, InputError for missing files.
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
    """Return the plug-in of a name, None for a registered name.

    Raises UsageError for an unknown name and for a malformed pattern.
    """
    if registered(name) == WITH_PATTERN:
        from clp_aug.datasets.tar_patterns import parse

        parse(name)
    return find(DATASETS, name, "data set")


def load_plugin(plugin: Plugin, root: Path | str | None) -> Dataset:
    """Return the data set of a plug-in: a function or class, called with `root` if it has such a parameter, or an
    object. The result is a Dataset of clp_aug, or a torch Dataset with labels; it gets the plug-in's name.

    Raises SettingError for a root that the plug-in does not take, InputError for a root that is no folder, UsageError
    for an object of another kind and if its code raises.
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
    """Return the name for loading the data set of a shard: the recorded name, or a plug-in that the user gives.

    A shard may come from somebody else, so code runs only if the user names it, too. Raises SettingError if the user
    has to name it, and if the user names another data set.
    """
    if not is_code(recorded, "data set"):
        if given is not None and given != recorded:
            raise SettingError("dataset", given, f"the shard is of data set {recorded}; leave the setting out")
        return recorded
    if given is None:
        reason = "the shard's data set is a plug-in, and its code runs only if you name it, too"
        raise SettingError("dataset", None, reason, {"dataset": recorded})
    if label(given) != recorded:
        raise SettingError("dataset", given, f"the shard is of data set {recorded}; give the path of its file")
    return given
