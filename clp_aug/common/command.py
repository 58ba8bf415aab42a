"""The commands of this package: options in groups with headings, one nearest name for a wrong option, any console.

    @click.command(cls=Tool, groups={"Data": ("dataset", "root")}, context_settings=CONTEXT)

Every tool is a `Tool` or a `Tools`, so this is the door of all of them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from clp_aug.common.terminal import never_refuse

MAIN = "Most used options"
OTHERS = "Other options"
WIDEST_NAME = 28
"""Columns of the options' names in a help text; a longer name has a line of its own."""
Groups = Mapping[str, Sequence[str]]
"""Heading -> names of parameters, as the command's function takes them."""


class Tool(click.Command):
    """A command whose options are shown in groups.

    groups: heading -> names of parameters, in the order of the help text; options of no group come last, under OTHERS,
    or without a heading where there are no groups; instead: what somebody may type -> the option that is meant.
    """

    def __init__(
        self, *args: Any, groups: Groups | None = None, instead: Mapping[str, str] | None = None, **settings: Any
    ) -> None:
        super().__init__(*args, **settings)
        self.groups, self.instead = dict(groups or {}), dict(instead or {})

    def grouped(self, ctx: click.Context) -> dict[str, list[click.Option]]:
        """Return the options by heading, in the order of the help text; each is in one group."""
        options = {name_of(param): param for param in self.get_params(ctx) if isinstance(param, click.Option)}
        found = {title: [options.pop(name) for name in names] for title, names in self.groups.items()}
        return found | ({OTHERS if self.groups else "Options": list(options.values())} if options else {})

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options in their groups."""
        write_groups(self.grouped(ctx), ctx, formatter)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Return the context of a call. Raises NoSuchOption with the nearest option for an unknown one."""
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.NoSuchOption as error:
            meant = self.instead.get(error.option_name) or next(iter(error.possibilities or ()), None)
            hint = f" Did you mean '{meant}'?" if meant else ""
            raise click.NoSuchOption(error.option_name, error.message + hint, ctx=error.ctx) from None

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run the command as the program does; see click.Command.main."""
        open_door()
        return super().main(*args, **extra)


class Tools(click.Group):
    """A command with commands of its own, each of them a `Tool`."""

    command_class = Tool

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run the command as the program does; see click.Command.main."""
        open_door()
        return super().main(*args, **extra)


def name_of(option: click.Option) -> str:
    """Return the name of an option in `Groups`; click's own name of --help differs between its versions."""
    return "help" if "--help" in option.opts else str(option.name)


def open_door() -> None:
    """Make the streams show any text, and let the shells' completion know `--set KEY=VALUE`."""
    for stream in (sys.stdout, sys.stderr):
        never_refuse(stream)
    if any(name.endswith("_COMPLETE") for name in os.environ):
        from clp_aug.common.shells import register

        register()


def write_groups(
    groups: Mapping[str, Sequence[click.Option]], ctx: click.Context, formatter: click.HelpFormatter
) -> None:
    """Write options by heading, all names in one column."""
    records = {title: [param.get_help_record(ctx) for param in params] for title, params in groups.items()}
    rows = {title: [record for record in some if record is not None] for title, some in records.items()}
    lengths = [len(name) for some in rows.values() for name, _ in some if len(name) <= WIDEST_NAME]
    width = max(lengths, default=0)
    for title, some in rows.items():
        if some:
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), text) for name, text in some], col_max=width)
