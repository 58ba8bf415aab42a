"""The default name of a run's folder: what it says of the settings, so that runs that differ have folders that do."""

from __future__ import annotations

import re
from collections.abc import Iterator

from clp_train.config import RECORD, TrainConfig, as_text

ELSEWHERE = ("meta", "method", "seed", "root", "dataset", "out", "cache", "export", "device", "store", "workers")
"""What the name says anyway, and what changes nothing that is learnt."""
LONGEST = 100  # characters of the settings in a name; a file system takes 255 bytes of all of it
SAFE = re.compile(r"[^A-Za-z0-9._+-]")


def suffix_of(config: TrainConfig, usual: TrainConfig) -> str:
    """Return what the name of a run's folder says of the settings that are not the usual ones: "-epochs3-lr0.05".

    usual: of a run of the same method with the preset alone, if it is a shipped one, which is said by its name. Text
    that a file name cannot have, or that is too long, ends in a digest of all of it. Nothing for the usual settings.
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
    """Yield the name of a shipped preset, then each setting that is not the usual one, in the order of results."""
    if usual.preset is not None:
        yield usual.preset
    values, usual_values = config.flat(), usual.flat()
    for name in dict.fromkeys([*RECORD, *values]):
        if name in values and name not in (*ELSEWHERE, "preset") and values[name] != usual_values[name]:
            yield spelt(name, values[name])


def spelt(name: str, value: object) -> str:
    """Return a setting as a name of a folder has it: "lr0.05", "meta_step-lagged", "watch_test"."""
    if value is True:
        return name
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return f"{name}{'' if number else '-'}{as_text(value)}"
