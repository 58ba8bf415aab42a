"""The usual names of the field for settings: `--set` and TOML presets take them for the names that we store."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from clp_aug.common.plugins import is_own
from clp_aug.contract.errors import UsageError
from clp_train.config import option, settings_of

ALIASES = {
    "learning_rate": "lr",
    "step_size": "lr",
    "head_learning_rate": "head_lr",
    "meta_lr": "omega_lr",
    "meta_learning_rate": "omega_lr",
    "scheduler": "schedule",
    "lr_schedule": "schedule",
    "lr_scheduler": "schedule",
    "warmup": "warmup_epochs",
    "optimizer": "optimiser",
    "wd": "weight_decay",
    "bs": "batch_size",
    "batch": "batch_size",
    "meta_batch": "meta_batch_size",
    "num_epochs": "epochs",
    "max_epochs": "epochs",
    "early_stopping": "patience",
    "num_workers": "workers",
    "arch": "model",
    "architecture": "model",
    "network": "model",
    "augmentation": "transform",
    "freeze_bn": "freeze_batch_norm",
    "random_seed": "seed",
    "output_dir": "out",
    "save_dir": "out",
    "data_root": "root",
    "data_dir": "root",
    "shard": "meta",
}
"""Usual name -> the name of the setting. None is the name of a setting of a method."""
INSTEAD = {"--" + alias.replace("_", "-"): "--" + name.replace("_", "-") for alias, name in ALIASES.items()}
"""The same, spelt as options: what the message for an unknown option suggests."""


def stored_name(name: str) -> str:
    """Return the name that a setting is stored under."""
    return ALIASES.get(name, name)


def with_stored_names(values: Mapping[str, Any], where: str, own: Collection[str] = ()) -> dict[str, Any]:
    """Return settings under the names that they are stored under.

    where: what they were given by, for the message; own: names that are taken as they are. Raises UsageError where an
    alias is given together with its name, or with another alias of it.
    """
    found: dict[str, Any] = {}
    given_as: dict[str, str] = {}
    for name, value in values.items():
        stored = name if name in own else stored_name(name)
        if stored in found:
            raise twice(where, given_as[stored], name, stored)
        found[stored], given_as[stored] = value, name
    return found


def texts_with_stored_names(
    texts: Sequence[str], values: Mapping[str, Any], method: str | None = None
) -> tuple[str, ...]:
    """Return the "key=value" texts of --set under the names that settings are stored under.

    values: settings that options gave, by name; method: of the run, None for the default. Raises UsageError where an
    alias is given together with its name.
    """
    keys = dict.fromkeys(text.partition("=")[0] for text in texts)
    if not any(key in ALIASES for key in keys):
        return tuple(texts)
    own = settings_of(method) if method is not None and is_own(method, "method") else ()
    with_stored_names(keys, "--set", own)
    stored = {key: key if key in own else stored_name(key) for key in keys}
    for key, name in stored.items():
        if key != name and name in values:
            raise twice("command line", option(name), f"--set {key}", name)
    return tuple(stored[text.partition("=")[0]] + text[len(text.partition("=")[0]) :] for text in texts)


def twice(where: str, first: str, second: str, name: str) -> UsageError:
    """Return the error for a setting that is given under two names."""
    return UsageError(f"{where}: {first} and {second} are two names of one setting, {name}; give one of them")
