"""Plug-ins: code that is not in a registry, named as module:name, as file.py:name, or by an entry point.

A plug-in is the user's own code. It is imported as Python imports it, without any check before. Its name always comes
from the user, never from a file that somebody else may have written.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clp_aug.common.own_code import FILE_SUFFIX, load_module, origin_of, own_names, said
from clp_aug.contract.errors import ClpError, UsageError, listed, suggestion

if TYPE_CHECKING:
    from importlib import metadata

GROUPS = {
    "model": "clp.models",
    "data set": "clp.datasets",
    "method": "clp.methods",
    "fill": "clp.fills",
    "matte": "clp.mattes",
    "transform": "clp.transforms",
    "engine": "clp.engines",
}
"""What a registry holds -> the group of entry points that adds names to it."""
WITH_ARGUMENT = {"matte": ("hatt", "onnx"), "model": ("torchvision", "timm"), "data set": ("wds",)}
"""What a registry holds -> registered names whose colon is followed by an argument: these are no plug-ins."""
FORM = f"module:name or file{FILE_SUFFIX}:name"
UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Plugin:
    """What a name outside a registry stands for.

    name: as the user wrote it; value: the object that it names; origin: of which code it is, in one line that records
    keep: "distribution version" of an installed package, else "file sha256"; what: of GROUPS; file: of its code.
    """

    name: str
    value: Any
    origin: str
    what: str = ""
    file: str = ""

    def refuse(self, reason: str) -> UsageError:
        """Return the error that says in one line what is wrong with it."""
        return UsageError(f"{self.what} {self.name!r}: {reason}")

    def call(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Call the object, or a function of it. Raises UsageError, in one line, for what it raises; ours pass."""
        try:
            return function(*arguments, **named)
        except ClpError:
            raise
        except Exception as error:
            raise self.refuse(said(error, self.file)) from error

    def call_with(self, **offered: Any) -> Any:
        """Call the object with those of some arguments that it has parameters for, by name.

        Raises UsageError for a parameter that is not offered, and for what the object raises.
        """
        if not callable(self.value):
            raise self.refuse(f"it is of type {type(self.value).__name__}, which cannot be called")
        names = parameters(self.value)
        for name, needed in names.items():
            if needed and name not in offered:
                raise self.refuse(f"it asks for {name}, but can only have {' and '.join(offered) or 'no arguments'}")
        return self.call(self.value, **{name: value for name, value in offered.items() if name in names})


def parameters(function: Callable[..., Any]) -> dict[str, bool]:
    """Return the names of the parameters that a function has, and whether each must be given."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of some that are written in C
        return {}
    plain = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {name: p.default is p.empty for name, p in signature.parameters.items() if p.kind in plain}


def annotated(function: Callable[..., Any], parameter: str) -> Any:
    """Return what a parameter of a function is annotated with, None where it has none or its text names nothing."""
    try:
        annotation = inspect.signature(function).parameters[parameter].annotation
    except (TypeError, ValueError, KeyError):
        return None
    if isinstance(annotation, str):  # from __future__ import annotations
        return vars(sys.modules[function.__module__]).get(annotation)
    return None if annotation is inspect.Parameter.empty else annotation


def summary_of(value: object) -> str:
    """Return the first line of an object's own docstring, "an own one" for none."""
    text = inspect.getdoc(value) if getattr(value, "__doc__", None) else None
    return (text or "").strip().partition("\n")[0].rstrip(".") or "an own one"


def find(registry: Mapping[str, Any], name: str, what: str) -> Plugin | None:
    """Return what a name outside a registry stands for, None for a registered name.

    what: of GROUPS, what the registry holds. Raises UsageError for a name that is neither registered nor a plug-in
    (with the nearest name), and for a plug-in that cannot be loaded.
    """
    if is_registered(registry, name, what):
        return None
    points = entry_points(GROUPS[what])
    if name in points:
        return of_entry_point(points[name], what)
    module, colon, attribute = name.rpartition(":")
    if not (colon and module and attribute):
        known = [*registry, *points]
        raise UsageError(
            f"unknown {what} {name!r}: {suggestion(known, name)}choose one of {listed(known)}, or give your own as"
            f" {FORM}"
        )
    loaded = load_module(module, f"{what} {name!r}", suggestion(registry, module))
    if not hasattr(loaded, attribute):
        has = suggestion(own_names(loaded), attribute) or f"it has {listed(own_names(loaded)) or 'no names of its own'}"
        raise UsageError(f"{what} {name!r}: {module} has no {attribute}; {has.rstrip()}")
    return Plugin(name, getattr(loaded, attribute), origin_of(loaded), what, str(getattr(loaded, "__file__", "")))


def has_argument(name: str, what: str) -> bool:
    """Return whether a registered name takes an argument after a colon, given or not."""
    return name.partition(":")[0] in WITH_ARGUMENT.get(what, ())


def is_registered(registry: Collection[str], name: str, what: str) -> bool:
    """Whether a registry has a name, or that before its argument."""
    return name in registry or (has_argument(name, what) and name.partition(":")[0] in registry)


def is_own(name: object, what: str) -> bool:
    """Whether a name is written as a plug-in's, or is an entry point's; a registered name counts before it."""
    if not isinstance(name, str) or has_argument(name, what):
        return False
    module, _, attribute = name.rpartition(":")
    return bool(module and attribute) or name in entry_points(GROUPS[what])


def is_code(name: str, what: str) -> bool:
    """Whether a name says itself which code is to be run, other than a name that an installed package has added."""
    return ":" in name and is_own(name, what) and name not in entry_points(GROUPS[what])


def label(name: str) -> str:
    """Return a name as records have it: without the folders of a file, so that it is the same on every machine."""
    module, colon, attribute = name.rpartition(":")
    return f"{Path(module).name}:{attribute}" if colon and module.endswith(FILE_SUFFIX) else name


def short(name: str) -> str:
    """Return a name as a part of a file's name: of a plug-in what stands behind the colon."""
    return UNSAFE.sub("_", name.rpartition(":")[2]) if ":" in name else name


def records(plugins: Iterable[Plugin | None]) -> dict[str, dict[str, str]]:
    """Return what a record says of plug-ins: label -> what it is, and of which code. None stands for no plug-in."""
    return {label(each.name): {"what": each.what, "origin": each.origin} for each in plugins if each is not None}


def difference(stored: object, now: object) -> str:
    """Return in words what differs between the plug-ins that a record tells of and those that there are now."""
    before, after = (value if isinstance(value, dict) else {} for value in (stored, now))
    for name in sorted({*before, *after}):
        if name in before and name in after and before[name] != after[name]:
            return f"another {name}: its code has changed since"
    return f"plug-ins {listed(before) or 'none'}, now {listed(after) or 'none'}"


@cache
def entry_points(group: str) -> dict[str, metadata.EntryPoint]:
    """Return the entry points of a group by name: what installed packages add to a registry."""
    from importlib import metadata

    return {point.name: point for point in metadata.entry_points(group=group)}


def of_entry_point(point: metadata.EntryPoint, what: str) -> Plugin:
    """Return the plug-in of an entry point. Raises UsageError for one that cannot be loaded."""
    try:
        value = point.load()
    except (Exception, SystemExit) as error:
        raise UsageError(f"{what} {point.name!r} of {distribution_of(point)} cannot be loaded: {said(error)}") from None
    module = sys.modules[point.module]
    return Plugin(point.name, value, origin_of(module), what, str(getattr(module, "__file__", "")))


def distribution_of(point: metadata.EntryPoint) -> str:
    """Return "name version" of the package that an entry point comes from."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value
