"""The registry of methods as a table, for `clp-train --list-methods` and docs/reference/methods.md."""

from __future__ import annotations

from clp_aug.common.plugins import GROUPS, entry_points
from clp_aug.common.text import in_markdown
from clp_train.methods import METHODS, Entry, entry_of

COLUMNS = ("method", "paper", "family: what it changes", "needs", "cost")
NEEDS = {"meta": "meta set", "groups": "group labels", "stages": "stages", "noise": "noise rate"}
INTRODUCTION = """# Methods

Every name for `clp-train --method`, grouped by what the method changes. Needs: a clean meta set, a group label for
every training picture, more than one stage, the share of wrong labels. Cost: of a run, relative to plain cross
entropy, by counting passes. The settings of a method: [settings.md](settings.md), or `clp-train --list-settings NAME`.
`make docs` writes this page.
"""


def methods_table(markdown: bool = False, method: str | None = None) -> str:
    """Return a table with one line per method, grouped by family; or, as Markdown, the docs page of registered methods.

    Methods of installed packages and the plug-in `method` follow at the end. Raises UsageError for a plug-in that
    cannot be loaded.
    """
    added = [] if markdown else [*entry_points(GROUPS["method"]), *([method] if method is not None else [])]
    own = [name for name in dict.fromkeys(added) if name not in METHODS]
    rows = [COLUMNS, *(row(name, entry_of(name)) for name in (*by_family(), *own))]
    if markdown:
        lines = [
            f"| {' | '.join(cells)} |" for cells in ((f"`{name}`", *map(in_markdown, rest)) for name, *rest in rows[1:])
        ]
        head = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
        return "\n".join([INTRODUCTION, *head, *lines])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, cells, widths)).rstrip() for cells in rows)


def by_family() -> list[str]:
    """Return the names: the reference first, the others by family and name."""
    return sorted(METHODS, key=lambda name: (METHODS[name].family != "reference", METHODS[name].family, name))


def row(name: str, entry: Entry) -> tuple[str, ...]:
    """Return the cells of one method as text."""
    needs = ", ".join(NEEDS[need] for need in entry.needs) or "-"
    return name, entry.source, entry.family, needs, entry.cost
