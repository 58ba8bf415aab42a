"""Every setting of a run as a list, for `clp-train --list-settings [METHOD]` and docs/settings.md."""

from __future__ import annotations

import textwrap
from dataclasses import MISSING, Field
from typing import Any

from clp_aug.common.settings import about, fields_of, type_of
from clp_aug.contract.errors import pick
from clp_train.config import ROOMS, Start, as_text, option
from clp_train.methods import METHODS, options_of

INTRODUCTION = """# Settings

Every setting of `clp-train`: its name in TOML files, in result.json and in Python, how the command line gives it, its
default, what it does, its valid values and its source. A setting that a method does not use is refused, and so is one
that has no effect beside the others. This page is `make docs`.
"""
WIDTH = 100


def settings_text(method: str | None = None, markdown: bool = False) -> str:
    """Return the settings of a method, or of all; as a page of the docs where markdown is asked for.

    Raises UsageError for an unknown method.
    """
    if method is not None:
        pick(METHODS, method, "method")
    sections = [(title, fields) for title, fields in sections_of(method) if fields]
    if markdown:
        return "\n".join([INTRODUCTION, *(page_section(title, fields) for title, fields in sections)])
    return "\n".join(text_section(title, fields) for title, fields in sections)


def sections_of(method: str | None) -> list[tuple[str, list[tuple[type, Field[Any]]]]]:
    """Return (title, [(owner, field)]): the rooms in their order, then what methods have of their own."""
    parts = None if method is None else ("", *METHODS[method].parts)
    shared = []
    for owner in (Start, *ROOMS.values()):
        fields = [(owner, f) for f in fields_of(owner).values() if parts is None or about(f).part in parts]
        shared.append((title_of(owner), fields))
    methods = METHODS if method is None else [method]
    own: dict[type, list[str]] = {}
    for name in methods:
        own.setdefault(options_of(name), []).append(name)
    return shared + [
        (f"Method {', '.join(names)}", [(owner, f) for f in fields_of(owner).values()]) for owner, names in own.items()
    ]


def title_of(owner: type) -> str:
    """Return the first sentence of what a dataclass of settings says of itself."""
    return (owner.__doc__ or owner.__name__).partition("\n")[0].rstrip(".")


def users_of(field: Field[Any]) -> str:
    """Return in words which methods use a setting; empty where all do."""
    part = about(field).part
    names = [name for name, entry in METHODS.items() if part in entry.parts]
    return (
        f"Methods with a {part}: {', '.join(names)}."
        if part == "meta step"
        else f"Methods: {', '.join(names)}."
        if part
        else ""
    )


def facts(owner: type, field: Field[Any]) -> list[str]:
    """Return what there is to say of a setting, sentence by sentence."""
    known = about(field)
    kind, _ = type_of(owner, field.name)
    said = [known.help]
    if kind is not bool and (known.choices or known.range(kind) not in ("a name", "a path")):
        said.append(f"{known.range(kind)[0].upper()}{known.range(kind)[1:]}.")
    if known.works_with is not None:
        other, values = known.works_with
        said.append(f"Only with {other} = {' or '.join(map(as_text, values))}.")
    said.append(users_of(field))
    if known.source:
        said.append(f"Source: {known.source}.")
    return [sentence for sentence in said if sentence]


def default_of(field: Field[Any]) -> str:
    """Return a default in words."""
    known = about(field)
    return known.shown or ("required" if field.default is MISSING else as_text(field.default))


def text_section(title: str, fields: list[tuple[type, Field[Any]]]) -> str:
    """Return one section for the terminal."""
    lines = [title + ":"]
    for owner, field in fields:
        lines.append(f"  {option(field.name)}  [{default_of(field)}]")
        lines += textwrap.wrap(
            " ".join(facts(owner, field)), WIDTH, initial_indent="      ", subsequent_indent="      "
        )
    return "\n".join([*lines, ""])


def page_section(title: str, fields: list[tuple[type, Field[Any]]]) -> str:
    """Return one section as a table of Markdown."""
    lines = [f"## {title}", "", "| setting | command line | default | what it does |", "|---|---|---|---|"]
    for owner, field in fields:
        said = " ".join(facts(owner, field)).replace("|", "\\|")
        lines.append(f"| `{field.name}` | `{option(field.name)}` | {default_of(field)} | {said} |")
    return "\n".join([*lines, ""])
