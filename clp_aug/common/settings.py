"""A setting is declared once, as a field of a frozen dataclass; checks, help texts and lists are made from it.

    @dataclass(frozen=True)
    class Sgd(Settings):
        lr: float = setting(0.1, "Learning rate of the classifier.", above=0)

`Sgd(lr=-1)` raises SettingError; `read(Sgd, {"lr": 0.2}, "table sgd")` gives the fields that a TOML table holds.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Collection, Mapping
from dataclasses import MISSING, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from clp_aug.common.plugins import FORM, find, is_own, is_registered
from clp_aug.contract.errors import SettingError, UsageError, listed, suggestion

WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a name", Path: "a path"}


@dataclass(frozen=True)
class About:
    """What is known of one setting beside its name, type and default.

    help: one sentence in plain English, without its default; choices: valid values, the paper's or the plainest first,
    or a registry, whose names are read when a value is checked; low, above, high, below: its range, low and high
    included, above and below excluded; source: equation or paper; part: the part of a run that it belongs to, if not
    every run has it (see `parts` of `clp_train.methods.Entry`); works_with: another setting, and the values that it
    must have for this one to have an effect; option: whether it has a command line option of its own; shown: its
    default in words, if the value is not clear; metavar: the name of its value in a help text; own: the kind of plug-in
    that may be given besides the choices, of `plugins.GROUPS`.
    """

    help: str
    choices: Collection[str] = ()
    low: float | None = None
    above: float | None = None
    high: float | None = None
    below: float | None = None
    source: str = ""
    part: str = ""
    works_with: tuple[str, tuple[object, ...]] | None = None
    option: bool = False
    shown: str = ""
    metavar: str = ""
    own: str = ""

    def range(self, kind: type) -> str:
        """Return in words which values are expected. kind: type of the setting."""
        if self.choices:
            return f"one of {', '.join(self.choices)}" + (f", or your own as {FORM}" if self.own else "")
        ends = (self.low, self.above, self.high, self.below)
        if self.low is not None and self.high is not None and math.isfinite(self.high):
            return f"{WORDS[kind]} from {self.low:g} to {self.high:g}"
        parts = [f"{sign} {end:g}" for sign, end in zip((">=", ">", "<=", "<"), ends, strict=True) if end is not None]
        return " ".join([WORDS[kind], " and ".join(parts)]).strip()

    def holds(self, value: float) -> bool:
        """Return whether a number is in the range; NaN and infinity never are."""
        return (
            -math.inf < value < math.inf  # not math.isfinite, which whole numbers beyond floats overflow
            and (self.low is None or value >= self.low)
            and (self.above is None or value > self.above)
            and (self.high is None or value <= self.high)
            and (self.below is None or value < self.below)
        )


def setting(
    default: object,
    help: str,
    *,
    choices: Collection[str] = (),
    low: float | None = None,
    above: float | None = None,
    high: float | None = None,
    below: float | None = None,
    source: str = "",
    part: str = "",
    works_with: tuple[str, tuple[object, ...]] | None = None,
    option: bool = False,
    shown: str = "",
    metavar: str = "",
    own: str = "",
) -> Any:
    """Declare one setting, a field of a dataclass; arguments as in `About`. default: MISSING for a required setting."""
    about = About(help, choices, low, above, high, below, source, part, works_with, option, shown, metavar, own)
    return dataclasses.field(default=default, metadata={"about": about})


def narrowed(owner: type, name: str, works_with: tuple[str, tuple[object, ...]]) -> Any:
    """Declare a setting of a base class again, with a condition of the subclass, without which it has no effect."""
    field = fields_of(owner)[name]
    return dataclasses.field(
        default=field.default, metadata={"about": dataclasses.replace(about(field), works_with=works_with)}
    )


class Settings:
    """Base of frozen dataclasses of settings: every value is checked when an object is made.

    Raises SettingError for a value of the wrong type or out of its range.
    """

    def __post_init__(self) -> None:
        check(self)


def about(field: dataclasses.Field[Any]) -> About:
    """Return what is known of a field; of one that was not declared by `setting`, nothing."""
    known: About = field.metadata.get("about", About(""))
    return known


def fields_of(kind: type) -> dict[str, dataclasses.Field[Any]]:
    """Return the fields of a dataclass of settings by name."""
    return {field.name: field for field in dataclasses.fields(kind)}


@cache
def hints_of(kind: type) -> dict[str, Any]:
    """Return the type of each field of a dataclass, by name."""
    return typing.get_type_hints(kind)


def type_of(kind: type, name: str) -> tuple[type, bool]:
    """Return the type of a field's values, tuple for any tuple, and whether None is one of them."""
    hint, optional = hints_of(kind)[name], False
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        hint, optional = next(part for part in typing.get_args(hint) if part is not type(None)), True
    return typing.get_origin(hint) or hint, optional


def check(settings: Any) -> None:
    """Raise SettingError for the first value that is of the wrong type or out of its range."""
    for name, field in fields_of(type(settings)).items():
        check_value(type(settings), field, getattr(settings, name))


def check_value(owner: type, field: dataclasses.Field[Any], value: object) -> None:
    """Raise SettingError unless a value is of the field's type and in its range."""
    declared = about(field)
    kind, optional = type_of(owner, field.name)
    if value is None and optional:
        return
    if kind not in WORDS:  # tuples, mappings: their owner checks them
        return
    if declared.own and isinstance(value, str) and is_registered(declared.choices, value, declared.own):
        return
    if declared.own and is_own(value, declared.own):
        try:
            find(dict.fromkeys(declared.choices), str(value), declared.own)
        except UsageError as error:
            raise SettingError(field.name, value, str(error)) from None
        return
    if kind is Path or (declared.choices and kind is str):
        if (declared.choices and value not in declared.choices) or (kind is Path and not isinstance(value, Path)):
            hint = suggestion(declared.choices, value)
            raise SettingError(field.name, value, f"{hint}expected {declared.range(kind)}")
        return
    right = isinstance(value, (int, float)) and not isinstance(value, bool) if kind is float else type(value) is kind
    if not right or (kind in (int, float) and not declared.holds(typing.cast(float, value))):
        raise SettingError(field.name, value, f"expected {declared.range(kind)}")


def typed(owner: type, name: str, value: object) -> object:
    """Return the value of a field as TOML or Python gives it, as its type: lists are tuples, texts may be paths.

    Raises SettingError for another type.
    """
    kind, optional = type_of(owner, name)
    if value is None and optional:
        return None
    if kind is float and type(value) is int:
        return float(value)
    if kind is Path and isinstance(value, (str, Path)):
        return Path(value)
    if kind is tuple and isinstance(value, (list, tuple)):
        inner = next(iter(typing.get_args(hints_of(owner)[name])), object)
        if all(type(part) is inner for part in value):
            return tuple(value)
    elif isinstance(kind, type) and type(value) is kind:
        return value
    raise SettingError(name, value, f"expected {WORDS.get(kind, 'a list of texts')}")


def from_text(owner: type, name: str, text: str) -> object:
    """Return the value of a field that is given as text. Raises SettingError for text that is none."""
    kind, optional = type_of(owner, name)
    if optional and text == "none":
        return None
    try:
        return {"true": True, "false": False}[text] if kind is bool else kind(text)
    except (KeyError, ValueError):
        raise SettingError(name, text, f"expected {about(fields_of(owner)[name]).range(kind)}") from None


def read(owner: type, table: Mapping[str, object], where: str, given: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the fields of a dataclass that a TOML table holds, as their types.

    where: what the table is called in messages; given: fields that it does not hold. Raises UsageError for an unknown
    name, with its nearest match, for one that lacks, and for one of the wrong type.
    """
    fields = {name: field for name, field in fields_of(owner).items() if name not in given}
    for name in table:
        if name not in fields:
            hint = suggestion(fields, name)
            raise UsageError(f"unknown key of {where} {name!r}: {hint}choose one of {listed(fields)}")
    for name, field in fields.items():
        if field.default is MISSING and field.default_factory is MISSING and name not in table:
            raise UsageError(f"{where}: no {name}; add a line {name} = ...")
    try:
        return {name: typed(owner, name, value) for name, value in table.items()}
    except SettingError as error:
        raise UsageError(f"{where}: {error.name} = {error.value!r}; {error.reason}") from None
