"""Errors that a user can act on: one line each, with the exit code of the command."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

Value = TypeVar("Value")

EXIT_USAGE, EXIT_INPUT, EXIT_FALLBACKS, EXIT_GAP, EXIT_INTERRUPTED = 2, 3, 4, 5, 130


class ClpError(Exception):
    """A problem in what the user gave: the message says value, expectation and remedy in one line."""

    exit_code = EXIT_INPUT


class UsageError(ClpError):
    """A setting that is unknown, out of range or contradicts another one (exit code 2)."""

    exit_code = EXIT_USAGE


class SettingError(UsageError):
    """A setting whose value cannot be used. The library names the setting; a command spells it as an option.

    name, value: of the setting; reason: what is expected, in one line; take: settings that would fix it, by name.
    """

    def __init__(self, name: str, value: object, reason: str, take: Mapping[str, object] | None = None) -> None:
        self.name, self.value, self.reason, self.take = name, value, reason, dict(take or {})
        super().__init__(self.spelt(lambda name, value: f"{name} = {value}"))

    def __reduce__(self) -> tuple[type[SettingError], tuple[str, object, str, dict[str, object]]]:
        return type(self), (self.name, self.value, self.reason, self.take)  # it travels from worker processes

    def spelt(self, spell: Callable[[str, object], str]) -> str:
        """Return the message with every setting spelt by `spell`, (name, value) -> text."""
        remedy = " and ".join(spell(name, value) for name, value in self.take.items())
        return f"{spell(self.name, self.value)}: {self.reason}" + (f"; take {remedy}" if remedy else "")


class InputError(ClpError):
    """A file, picture, table or shard that cannot be used (exit code 3)."""

    exit_code = EXIT_INPUT


class TooManyFallbacks(ClpError):
    """The chosen matte failed on too many pictures: the run would not be what was asked for (exit code 4)."""

    exit_code = EXIT_FALLBACKS


class GapTooLarge(ClpError):
    """A model depends on backgrounds more than allowed, or the data cannot decide whether it does (exit code 5)."""

    exit_code = EXIT_GAP


def pick(registry: Mapping[str, Value], name: str, what: str) -> Value:
    """Look `name` up in a registry; an unknown name raises UsageError with the nearest and all valid names."""
    if name not in registry:
        raise UsageError(f"unknown {what} {name!r}: {suggestion(registry, name)}choose one of {listed(registry)}")
    return registry[name]


def suggestion(names: Iterable[str], name: object) -> str:
    """Return "did you mean X? " for the nearest of some names; empty if none is near."""
    nearest = difflib.get_close_matches(str(name), list(names), 1, 0.75)
    return f"did you mean {nearest[0]}? " if nearest else ""


def listed(names: Iterable[str]) -> str:
    """Return names as text, in alphabetical order."""
    return ", ".join(sorted(names))
