"""What a shell offers behind the options of clp-train, clp-audit and clp-predict. No torch here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import click

from clp_aug.common.completing import offered, pairs
from clp_aug.common.settings import about, fields_of, type_of
from clp_train.config import ROOMS
from clp_train.exports import FILES
from clp_train.methods import METHODS
from clp_train.methods.known import KNOWN
from clp_train.models.listing import ABOUT
from clp_train.presets import names
from clp_train.presets.choosing import NONE
from clp_train.presets.listing import summary
from clp_train.run_settings import Start


def preset_names() -> Mapping[str, str]:
    """Return the presets with what each is for."""
    return {name: summary(name) for name in names()} | {NONE: "The defaults alone."}


def method_names() -> Mapping[str, str]:
    """Return the methods with their papers."""
    return {name: entry.source for name, entry in METHODS.items()}


def model_names() -> Mapping[str, str]:
    """Return the models with what each is; of a library's, what comes before the name."""
    return {name.removesuffix("NAME"): known.what for name, known in ABOUT.items()}


def settings_known(ctx: click.Context) -> Mapping[str, tuple[str, Iterable[str]]]:
    """Return the settings that --set takes, with what each is and its values: those of the method that is named, else
    of all methods.
    """
    method = ctx.params.get("method")
    found: dict[str, tuple[str, Iterable[str]]] = {}
    for owner in (Start, *ROOMS.values()):
        for name in fields_of(owner):
            found[name] = (about(fields_of(owner)[name]).help, values_of(owner, name))
    for settings in [KNOWN.get(method, {})] if method in METHODS else KNOWN.values():
        found |= {name: ("", values) for name, values in settings.items() if name not in found}
    return {name: known for name, known in found.items() if name != "preset"}


def values_of(owner: type, name: str) -> tuple[str, ...]:
    """Return the values of a setting that can be listed."""
    if type_of(owner, name)[0] is bool:
        return ("true", "false")
    if name == "method":
        return tuple(METHODS)
    return tuple(model_names()) if name == "model" else tuple(about(fields_of(owner)[name]).choices)


METHOD, MODEL, PRESET = offered(method_names), offered(model_names), offered(preset_names)
EXPORT = offered(lambda: FILES, commas=True)
SETTINGS = pairs(settings_known)
