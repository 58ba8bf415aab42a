"""The default name of a run's folder: it contains the settings, so different runs have different folders."""

from __future__ import annotations

import re
from collections.abc import Iterator

from clp_train.config import RECORD, TrainConfig, as_text

ELSEWHERE = ("meta", "method", "seed", "root", "dataset", "out", "cache", "export", "device", "store", "workers")
"""Settings that the name has anyway, or that do not change the result."""
LONGEST = 100  # characters of the settings in a name; a file system allows 255 bytes for the whole name
SAFE = re.compile(r"[^A-Za-z0-9._+-]")


def suffix_of(config: TrainConfig, usual: TrainConfig) -> str:
    """Return the part of a folder's name for settings that differ from the usual ones, such as "-epochs3-lr0.05".

    usual: settings of the same method with only the preset, if it is a shipped one; its name is then part of the text.
    Text that is too long or not allowed in a file name ends in a digest of all of it. "" for the usual settings.
    """
    parts = list(differences(config, usual))
    text = "".join(f"-{part}" for part in parts)
    name = SAFE.sub("_", text)
    if name == text and len(name) <= LONGEST:
        return name
    import hashlib
    import json

    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:8]
    return f"{name[: LONGEST - len(digest) - 1]}-{digest}"


def differences(config: TrainConfig, usual: TrainConfig) -> Iterator[str]:
    """Yield the name of a shipped preset, then each setting that differs from the usual, in the order of results."""
    if usual.preset is not None:
        yield usual.preset
    values, usual_values = config.flat(), usual.flat()
    for name in dict.fromkeys([*RECORD, *values]):
        if name in values and name not in (*ELSEWHERE, "preset") and values[name] != usual_values[name]:
            yield spelt(name, values[name])


def spelt(name: str, value: object) -> str:
    """Return a setting as part of a folder's name: "lr0.05", "meta_step-lagged", "watch_test"."""
    if value is True:
        return name
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return f"{name}{'' if number else '-'}{as_text(value)}"
