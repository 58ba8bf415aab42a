"""Settings as options of a command: name, type, default and help come from the field of the dataclass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING
from pathlib import Path
from typing import Any, TypeVar

import click

from clp_aug.common.completing import Offer, offered
from clp_aug.common.settings import about, fields_of, hints_of, type_of

Command = TypeVar("Command", bound=Callable[..., Any])
PATH = click.Path(path_type=Path)
CONTEXT = {"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 110}
"""Settings of click for each command of this package."""


def names(value: str | tuple[str, ...]) -> tuple[str, ...]:
    """Return the parts of a comma list: "grey,tile" has two."""
    return value if isinstance(value, tuple) else tuple(part.strip() for part in value.split(",") if part.strip())


def numbers(value: str | tuple[int, ...]) -> tuple[int, ...]:
    """Return the whole numbers of a comma list, "32,64" for instance."""
    if isinstance(value, tuple):
        return value
    try:
        return tuple(int(part) for part in value.split(","))
    except ValueError:
        reason = f"{value!r}: expected whole numbers with commas between them, 32,64 for instance"
        raise click.BadParameter(reason) from None


LISTS: dict[object, Callable[[Any], Any]] = {tuple[str, ...]: names, tuple[int, ...]: numbers}


def options_of(owner: type, *settings: str, offers: Mapping[str, Offer] | None = None) -> Callable[[Command], Command]:
    """Give a command the options of some settings, in the order of their names; without names, those marked `option`.

    owner: a dataclass of `setting`s; offers: what shells offer for settings without choices, by name. Values arrive at
    the command as the fields' types, None for one that is not given and has no default; an option of several paths may
    be repeated. Ranges are checked when the settings are made.
    """
    fields = fields_of(owner)
    order = settings or tuple(name for name, field in fields.items() if about(field).option)

    def decorate(command: Command) -> Command:
        for name in reversed(order):  # decorators apply from the innermost outwards
            command = option_of(owner, name, (offers or {}).get(name))(command)
        return command

    return decorate


def option_of(owner: type, name: str, offer: Offer | None = None) -> Callable[[Command], Command]:
    """Return the option of one setting. offer: what shells offer, by default its choices."""
    field, (kind, _) = fields_of(owner)[name], type_of(owner, name)
    declared = about(field)
    text = declared.help + (f"  [default: {declared.shown}]" if declared.shown else "")
    flag = "--" + name.replace("_", "-")
    if kind is bool:
        return click.option(flag, name, is_flag=True, help=text)
    if hints_of(owner)[name] == tuple[Path, ...]:
        return click.option(flag, name, type=PATH, multiple=True, required=field.default is MISSING, help=text)
    types: dict[object, Any] = {Path: PATH, tuple: LISTS.get(hints_of(owner)[name])}
    if offer is None and declared.choices:
        offer = offered(lambda: declared.choices)
    if field.default is MISSING:
        return click.option(flag, name, type=types.get(kind, kind), required=True, help=text, shell_complete=offer)
    return click.option(flag, name, type=types.get(kind, kind), default=field.default, help=text, shell_complete=offer)
