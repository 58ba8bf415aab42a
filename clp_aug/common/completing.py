"""What a shell offers behind an option: names with what they are. Light: each press of the tab key starts a process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

Names = Mapping[str, object] | Iterable[str]
"""Names; in a mapping, with one line of text about each, or with something that is not shown, as in a registry."""
Offer = Callable[[click.Context, click.Parameter, str], "list[CompletionItem]"]
"""What click takes as `shell_complete`."""


def offered(names: Callable[[], Names], commas: bool = False) -> Offer:
    """Return what offers names that begin with what was typed.

    names: called when the shell asks; commas: the value is a comma list, of which the last part is completed.
    """

    def offer(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        before, comma, begun = incomplete.rpartition(",") if commas else ("", "", incomplete)
        taken = set(before.split(",")) if commas else set()
        return items(names(), begun, before + comma, taken)

    return offer


def items(names: Names, begun: str, before: str = "", taken: Iterable[str] = ()) -> list[CompletionItem]:
    """Return the names that begin with a text as a shell takes them, behind what comes before them."""
    from click.shell_completion import CompletionItem

    known: dict[str, object] = dict(names) if isinstance(names, Mapping) else dict.fromkeys(names)
    return [
        CompletionItem(before + name, help=" ".join(text.split()) or None if isinstance(text, str) else None)
        for name, text in known.items()
        if name.startswith(begun) and name not in taken
    ]


def pairs(values: Callable[[click.Context], Mapping[str, tuple[str, Iterable[str]]]]) -> Offer:
    """Return what offers KEY= and, behind it, the values of KEY. values: context -> key -> (what it is, values)."""

    def offer(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        key, equals, begun = incomplete.partition("=")
        known = values(ctx)
        if not equals:
            return items({f"{name}=": text for name, (text, _) in known.items()}, incomplete)
        return items(known[key][1], begun, f"{key}=") if key in known else []

    return offer


def files(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Let the shell offer files, for an argument that may be a path."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]
