"""Every setting of a run as a list, for `clp-train --list-settings [--method NAME]` and docs/reference/settings.md."""

from __future__ import annotations

import collections
import textwrap
from dataclasses import MISSING, Field
from typing import Any, NamedTuple

from clp_aug.common.settings import about, fields_of, type_of
from clp_aug.common.text import in_markdown
from clp_train.algorithm.settings import MetaStepSettings, SaliencySettings, SgdSettings
from clp_train.config import ROOMS, as_text, join_names, option
from clp_train.loading.settings import DataSettings
from clp_train.methods import METHODS, entry_of, options_of
from clp_train.models.settings import ModelSettings
from clp_train.pictures.settings import BatchSettings, StoreSettings
from clp_train.presets.aliases import ALIASES
from clp_train.run_settings import MetaBatchSettings, RunSettings, Start

OTHER_NAMES = "; ".join(
    f"`{name}`: {', '.join(f'`{alias}`' for alias in ALIASES if ALIASES[alias] == name)}"
    for name in dict.fromkeys(ALIASES.values())
)
INTRODUCTION = f"""# Settings

Every setting of `clp-train`: its name in TOML files, in result.json and in Python; its option on the command line; its
default; what it does, with its valid values and its source. Settings of every run come first, then the settings that
only one method has. A setting that the method does not use is refused, and so is a setting that has no effect together
with the others. `make docs` writes this page.

`--set` and TOML presets also take these usual names: {OTHER_NAMES}.
"""
TITLES = {
    Start: "Method and preset",
    DataSettings: "Data",
    RunSettings: "Run",
    ModelSettings: "Classifier",
    BatchSettings: "Training batches",
    StoreSettings: "Where pictures live",
    SgdSettings: "Optimiser of the classifier",
    MetaStepSettings: "Meta step",
    MetaBatchSettings: "Meta batches",
    SaliencySettings: "Saliency term",
}
WIDTH = 100


class Section(NamedTuple):
    """Settings under one title. text: what they are, in sentences; part: the part that most of them belong to; fields:
    each with the dataclass that declares it.
    """

    title: str
    text: str
    part: str
    fields: list[tuple[type, Field[Any]]]


def settings_text(method: str | None = None, markdown: bool = False) -> str:
    """Return the settings of a method, or of all methods; markdown: as a page of the docs.

    Raises UsageError for an unknown method.
    """
    if method is not None:
        entry_of(method)
    sections = [section for section in (*shared_sections(method), *own_sections(method)) if section.fields]
    if markdown:
        parts = [INTRODUCTION, *map(page_section, sections), without_own(method)]
    else:
        parts = [*map(text_section, sections), *wrap(without_own(method))]
    return "\n".join(parts).rstrip("\n")


def shared_sections(method: str | None) -> list[Section]:
    """Return the settings of the rooms. method: only those that it takes."""
    sections = []
    for owner in (Start, *ROOMS.values()):
        fields = list(fields_of(owner).values())
        part = collections.Counter(about(field).part for field in fields).most_common(1)[0][0]
        text = " ".join(filter(None, [(owner.__doc__ or "").strip(), users_of(part) if method is None else ""]))
        if method is not None:
            fields = [field for field in fields if about(field).part in ("", *entry_of(method).parts)]
        sections.append(Section(TITLES[owner], text, part, [(owner, field) for field in fields]))
    return sections


def own_sections(method: str | None) -> list[Section]:
    """Return the methods' own settings; methods that have the same settings are in one section."""
    methods_of: dict[type, list[str]] = {}
    for name in METHODS if method is None else [method]:
        methods_of.setdefault(options_of(name), []).append(name)
    sections = []
    for owner, names in methods_of.items():
        title = f"Method{'s' if len(names) > 1 else ''} {join_names(names)}"
        papers = join_names(list(dict.fromkeys(entry_of(name).source for name in names)))
        fields = [(owner, field) for field in fields_of(owner).values()]
        sections.append(Section(title, f"{papers[0].upper()}{papers[1:]}.", "", fields))
    return sections


def without_own(method: str | None) -> str:
    """Say which methods have no settings of their own; nothing where the method asked for has some."""
    names = [name for name in (METHODS if method is None else [method]) if not fields_of(options_of(name))]
    return f"Without settings of their own: {join_names(names)}." if names else ""


def users_of(part: str) -> str:
    """Say which methods use the settings of a part; nothing where all do."""
    names = [name for name, entry in METHODS.items() if part in entry.parts]
    return f"Only for {join_names(names)}." if part else ""


def facts(owner: type, field: Field[Any], of_most: str = "") -> list[str]:
    """Return the sentences about a setting. of_most: the part that the section's text names already."""
    declaration = about(field)
    sentences = [declaration.help, range_of(owner, field)]
    if declaration.works_with is not None:
        other, values = declaration.works_with
        sentences.append(f"Only with {other} = {' or '.join(map(as_text, values))}.")
    if declaration.part != of_most:
        sentences.append(users_of(declaration.part))
    if declaration.source:
        sentences.append(f"Source: {declaration.source}.")
    return [sentence for sentence in sentences if sentence]


def range_of(owner: type, field: Field[Any]) -> str:
    """Return the valid values in a sentence; nothing where the default shows all that there is to know."""
    declaration, (kind, _) = about(field), type_of(owner, field.name)
    if kind not in (int, float) and not declaration.choices:
        return ""
    expected = declaration.range(kind)
    return f"{expected[0].upper()}{expected[1:]}."


def default_of(field: Field[Any]) -> str:
    """Return a default in words."""
    declaration = about(field)
    if declaration.shown:
        return declaration.shown
    if field.default is MISSING:
        return "required"
    return f"{field.default:g}" if isinstance(field.default, float) else as_text(field.default)


def wrap(text: str, indent: str = "") -> list[str]:
    """Return a text in lines of at most WIDTH; no name is broken at a hyphen."""
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def text_section(section: Section) -> str:
    """Return one section for the terminal."""
    lines = [section.title.upper()]
    lines += wrap(section.text)
    for owner, field in section.fields:
        lines.append(f"  {option(field.name)}  [{default_of(field)}]")
        text = " ".join(facts(owner, field, section.part))
        lines += wrap(text, "      ")
    return "\n".join([*lines, ""])


def page_section(section: Section) -> str:
    """Return one section as a table of Markdown."""
    lines = [f"## {section.title}", ""]
    lines += [section.text, ""] if section.text else []
    lines += ["| setting | command line | default | what it does |", "|---|---|---|---|"]
    for owner, field in section.fields:
        text = in_markdown(" ".join(facts(owner, field, section.part)))
        spelling = option(field.name) + ("=..." if option(field.name).startswith("--set") else "")
        lines.append(f"| `{field.name}` | `{spelling}` | {in_markdown(default_of(field))} | {text} |")
    return "\n".join([*lines, ""])
