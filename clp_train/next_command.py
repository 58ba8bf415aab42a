"""What to run next: the command that a finished run ends with, to be pasted into a shell."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from clp_train.config import pairs_of, settings_of, spell_option
from clp_train.methods import METHODS

LEFT_OUT = ("meta", "method", "out", "export")
PROTOCOL = {"fit": "crop", "meta": None, "imbalance": None, "img_max": "rest", "noise": None, "matte": None}
"""Settings of a shard that say which pictures and boxes it is of, and what need not be said."""


def other_method(values: Mapping[str, object], texts: Sequence[str], shard: Path, method: str) -> str:
    """Return the command of the first other method with all else alike, as far as that one has the settings.

    values: what the command line gave, by setting; texts: its "key=value"; shard, method: of the run.
    """
    other = next(name for name in METHODS if name != method)
    pairs, names = pairs_of(texts), settings_of(other).keys() - set(LEFT_OUT)
    words = ["clp-train", "--meta", str(shard), "--method", other]
    for name, value in values.items():
        if name in names and name not in pairs:
            words += spell_option(name, value).split(" ", 1)
    for name, text in pairs.items():
        if name in names:
            words += ["--set", f"{name}={text}"]
    return shlex.join(words)


def attacked_shard(settings: Mapping[str, object], dataset: str, root: Path | None, classifier: Path) -> str:
    """Return the command of a shard like the run's, with factuals by an attack on its exported classifier.

    settings: of the run's shard, as its header has them.
    """
    words = ["clp-augment", "--dataset", dataset, *(("--root", root) if root else ()), "--size", settings["size"]]
    for name, usual in PROTOCOL.items():
        if settings.get(name) not in (None, usual):
            words += ["--" + name.replace("_", "-"), settings[name]]
    return shlex.join(map(str, (*words, "--f", "fgsm", "--classifier", classifier)))
