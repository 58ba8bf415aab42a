"""Pages of the reference about commands, made from what click prints as help."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from clp_aug.common.text import in_markdown

if TYPE_CHECKING:
    import click

COMMANDS = {
    "clp-augment": "clp_aug.cli:augment",
    "clp-inspect": "clp_aug.inspect_cli:inspect",
    "clp-fit": "clp_aug.fit_cli:fit",
    "clp-data": "clp_aug.data_cli:data",
    "clp-train": "clp_train.cli:train",
    "clp-predict": "clp_train.predict_cli:predict",
    "clp-audit": "clp_train.audit_cli:audit",
    "clp-compare": "clp_train.compare_cli:compare",
    "clp-bench": "clp_train.bench.cli:bench",
}
PARTS = {"clp-audit": {"data": "clp_train.audit_data_cli:data"}}
"""Command -> its parts that click does not know as subcommands."""
MORE = {
    "clp-augment": "See also: [fills](../fills.md), [mattes](../mattes.md), [data sets](../datasets.md), "
    "[the shard](../shard.md).",
    "clp-train": "See also: [settings](../settings.md), [methods](../methods.md), [presets](../presets.md), "
    "[models](../models.md).",
}
NOTE = "This page is made from `{name} --help` by `make docs`. Exit codes: [exit codes](../exit-codes.md)."
LAST_BRACKETS = re.compile(r"^(?P<text>.*?)\s*\[(?P<facts>(?:[^\[\]]|\[[^\[\]]*\])*)\]$", re.S)
RANGE = re.compile(r"x *[<>]|-?[\d.]+ *<|env var")
"""Of what click says in brackets: what is no default."""
PLACEHOLDER = re.compile(r"(?<![\w`])(--[a-z][\w-]*)(?![\w`])")
EXAMPLE = re.compile(r"^ *clp-[a-z]+ .*$")


@dataclass
class Recorder:
    """What click writes as help, as sections instead of lines: (title, texts, rows of a list)."""

    sections: list[tuple[str, list[str], list[tuple[str, str]]]] = field(default_factory=lambda: [("", [], [])])
    usage: str = ""
    width: int = 10_000
    current_indent: int = 0

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        """Note the line after "Usage:"."""
        self.usage = f"{prog} {args}".strip()

    def write_heading(self, heading: str) -> None:
        """Begin a section."""
        self.sections.append((heading.rstrip(":"), [], []))

    def write_paragraph(self) -> None:
        """Do nothing: paragraphs are texts of their own."""

    def write_text(self, text: str) -> None:
        """Note a text of the section."""
        self.sections[-1][1].append(text)

    def write(self, string: str) -> None:
        """Note a text that is not empty."""
        if string.strip():
            self.sections[-1][1].append(string.strip("\n"))

    def write_dl(self, rows: list[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Note a list of options."""
        self.sections[-1][2].extend(rows)

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        """Begin a section."""
        self.write_heading(name)
        yield

    @contextmanager
    def indentation(self) -> Iterator[None]:
        """Do nothing."""
        yield

    def indent(self) -> None:
        """Do nothing."""

    def dedent(self) -> None:
        """Do nothing."""


def load(place: str) -> click.Command:
    """Return the click command that "module:name" names."""
    module, name = place.split(":")
    command: click.Command = getattr(importlib.import_module(module), name)
    return command


def command_pages() -> dict[str, str]:
    """Return file name -> text of the page of every command."""
    return {f"commands/{name}.md": page(name) for name in COMMANDS}


def page(name: str) -> str:
    """Return the page of one command with its subcommands."""
    command = load(COMMANDS[name])
    lines = [f"# {name}", "", *part(command, name, 2)]
    for inner, subcommand in subcommands(name, command).items():
        lines += [f"## {name} {inner}", "", *part(subcommand, f"{name} {inner}", 3)]
    lines += [*([MORE[name], ""] if name in MORE else []), NOTE.format(name=name)]
    return "\n".join(lines) + "\n"


def subcommands(name: str, command: click.Command) -> dict[str, click.Command]:
    """Return the subcommands by name."""
    found = dict(getattr(command, "commands", {}))
    return found | {inner: load(place) for inner, place in PARTS.get(name, {}).items()}


def part(command: click.Command, path: str, level: int) -> list[str]:
    """Return the lines of one command: usage, text, a table for each group of options."""
    import click

    recorder = Recorder()
    command.format_help(click.Context(command, info_name=path, **command.context_settings), recorder)  # type: ignore[arg-type]
    lines = ["```text", recorder.usage, "```", ""]
    for title, texts, rows in recorder.sections:
        lines += [f"{'#' * level} {title}", ""] if title and rows else []
        for text in texts:
            lines += described(text)
        if rows:
            lines += [*table(title, rows), ""]
    return lines


def described(text: str) -> list[str]:
    """Return the lines of a help text; its example commands become a block."""
    lines: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text.replace("\b", "").strip()):
        block = [line.strip() for line in paragraph.splitlines() if line.strip()]
        if block and all(EXAMPLE.match(line) for line in block):
            lines += ["```text", *block, "```", ""]
        elif block:
            lines += [in_markdown(" ".join(block)), ""]
    return lines


def table(title: str, rows: list[tuple[str, str]]) -> list[str]:
    """Return a table of options, or of commands, which have no defaults."""
    if title == "Commands":
        return [
            "| command | what it does |",
            "|---|---|",
            *(f"| `{name}` | {in_markdown(text)} |" for name, text in rows),
        ]
    lines = ["| option | default | what it does |", "|---|---|---|"]
    for option, text in rows:
        what, default = split(text)
        lines.append(f"| `{in_markdown(option.strip())}` | {default} | {marked(what)} |")
    return lines


def split(text: str) -> tuple[str, str]:
    """Return a help text without its last brackets, and the default that these name."""
    text, facts = " ".join(text.split()), []
    while found := LAST_BRACKETS.match(text):
        text, facts = found["text"], [*found["facts"].split("; "), *facts]
    ranges = [fact for fact in facts if RANGE.match(fact)]
    default = "; ".join(fact.removeprefix("default: ") for fact in facts if fact not in ranges)
    return " ".join([text, *(f"({fact})" for fact in ranges)]), in_markdown(default)


def marked(text: str) -> str:
    """Return a help text for a cell of a table, the options in it as code."""
    return PLACEHOLDER.sub(r"`\1`", in_markdown(text))
