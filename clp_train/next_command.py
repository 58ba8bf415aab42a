"""The next command: a run ends by printing it, ready to be pasted into a shell in the same folder."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from clp_aug.contract.errors import ClpError
from clp_aug.datasets import META_FROM_VAL, find_root, load_dataset
from clp_train.config import pairs_of, settings_of, spell_option
from clp_train.methods import METHODS

LEFT_OUT = ("meta", "method", "out", "export")
PROTOCOL = {
    "fit": "crop", "meta": None, "keep_meta_in_train": False, "imbalance": None, "img_max": "rest", "noise": None,
    "noise_seed": 1, "limit": None, "matte": None, "pad": 0,
}  # fmt: skip
"""Settings of a shard that decide its pictures and boxes -> the value that need not be given."""


def other_method(
    values: Mapping[str, object],
    texts: Sequence[str],
    shard: Path,
    method: str,
    is_new: Callable[[str], bool] = lambda line: True,
) -> str:
    """Return the command for another method, with all other settings the same as far as that method has them.

    It is the first method that needs nothing but meta pictures and whose command `is_new`, if there is one. values:
    what the command line gave, by setting; texts: its "key=value"; shard, method: of the run.
    """
    others = [name for name, entry in METHODS.items() if name != method and not set(entry.needs) - {"meta"}]
    lines = {name: of_method(values, texts, shard, name) for name in others}
    return next((line for line in lines.values() if is_new(line)), lines[others[0]])


def of_method(values: Mapping[str, object], texts: Sequence[str], shard: Path, method: str) -> str:
    """Return the command for a method on a shard, with the given settings that the method has."""
    names = settings_of(method).keys() - set(LEFT_OUT)
    words = ["clp-train", "--meta", str(shard), "--method", method, *given_words(values, texts, names)]
    return shlex.join(words)


def command_again(values: Mapping[str, object], texts: Sequence[str]) -> str:
    """Return the command that finishes a run, from its first command. values, texts: as in `other_method`."""
    return shlex.join(["clp-train", *given_words(values, texts, {*values, *pairs_of(texts)}), "--resume"])


def given_words(values: Mapping[str, object], texts: Sequence[str], names: Collection[str]) -> list[str]:
    """Return settings that were given as the command line takes them, those of some names."""
    pairs, words = pairs_of(texts), list[str]()
    for name, value in values.items():
        if name in names and name not in pairs:
            words += spell_option(name, value).split(" ", 1)
    for name, text in pairs.items():
        if name in names:
            words += ["--set", f"{name}={text}"]
    return words


def root_to_say(dataset: str, root: Path | None) -> Path | None:
    """Return the folder of a data set if a command must name it: it was given, or found by $CLP_DATA."""
    if root is not None or dataset == "demo" or not os.environ.get("CLP_DATA"):
        return root
    try:
        place = find_root(dataset, None)
    except ClpError:
        return None
    return place if place is not None and place.parent != Path("data") else None


def attacked_shard(settings: Mapping[str, object], dataset: str, root: Path | None, classifier: Path) -> str | None:
    """Return the command for a shard like the run's, whose factuals attack the run's exported classifier.

    settings: of the run's shard, as its header has them. None if the shard depends on files that it does not name: the
    network of a matte, masks or boxes from another place.
    """
    if hangs_on_files(settings, dataset, root):
        return None
    words = ["clp-augment", "--dataset", dataset, *(("--root", root) if root else ()), "--size", settings["size"]]
    usual = PROTOCOL | {"meta_from": "val" if dataset in META_FROM_VAL else "train"}
    for name, value in usual.items():
        if settings.get(name) not in (None, value):
            words += ["--" + name.replace("_", "-"), *(() if settings[name] is True else (settings[name],))]
    if attributes := attributes_of(settings):
        words += ["--attributes", ",".join(attributes)]
    if settings.get("left_out"):
        words.append("--skip-broken")
    return shlex.join(map(str, (*words, "--f", "fgsm", "--classifier", classifier)))


def attributes_of(settings: Mapping[str, object]) -> list[str]:
    """Return the columns that a shard's groups were chosen by, none where nothing was chosen."""
    names = settings.get("attributes")
    return [str(name) for name in names] if isinstance(names, list) else []


def hangs_on_files(settings: Mapping[str, object], dataset: str, root: Path | None) -> bool:
    """Return whether a shard was made with a matte's network, or with masks or boxes in another folder."""
    matte = str(settings.get("matte"))
    if matte != "given":
        return ":" in matte
    try:
        return not load_dataset(dataset, root, attributes_of(settings)).annotated
    except ClpError:
        return True
