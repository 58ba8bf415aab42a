"""The tables in README and the docs that show recorded results, as lines of Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from clp_train.bench.spec import read_table
from experiments.claims.figures import (
    gap_of_fresh,
    of_chain,
    of_fresh,
    of_search,
    of_table,
    seeds_of,
    share_of_fresh,
    share_of_search,
    shown,
)

TABLE = "waterbirds-2026"
SETS = ("pets", "cutouts-99", "two")
FRESH_ROWS = {
    "erm": "cross entropy", "jtt": "JTT", "afr": "AFR", "dfr": "DFR, meta set unsorted", "uw": "UW (knows all groups)",
    "group-dro": "GroupDRO (knows all groups)", "meta-lp": "Meta-LP, share learnt", "background-adjust": "CLP's start",
    "clp": "CLP",
}  # fmt: skip
SHARE_ROWS = {
    "ERM": "cross entropy", "start": "CLP's start, no meta step", "Meta-LP, none": "Meta-LP, share alone, from 0",
    "not-y, Omega": "not y, with Omega, from 0", "not-y, Omega, bound": "the same, bound at 1",
    "not-y, Omega, step falls": "the same, a falling learning rate",
    "not-y, Omega 3e-5": "the same, Omega's learning rate 3e-5",
    "not-y, none": "not y, share alone, from 0", "not-y, none, bound": "the same, bound at 1",
    "not-y, none, pull": "the same, pulled towards 1", "chance, none": "chance, share alone, from 0",
    "chance, none, from 1": "**chance, share alone, from 1**",
}  # fmt: skip
CASES = ("honest", "counterfactuals", "sharp", "flat", "leak")
CHAINS = (
    ("a head on ImageNet's features, CLP in its earlier form", "head alone, 160 px", "head"),
    ("a head, the background's delta fixed", "B, 160 px", "head"),
    ("**B: then all of the network, a small learning rate, the same delta**", "B, 160 px", "body"),
    ("B, then a new head by CLP", "B, a new head, 160 px", "new head"),
    ("A: all of the network, the background's delta fixed", "A, 160 px", "body"),
    ("A, then a new head by CLP", "A, 160 px", "head"),
    ("C: GroupDRO, a head", "C: GroupDRO, 160 px", "head"),
    ("C: GroupDRO, then all of the network", "C: GroupDRO, 160 px", "body"),
    ("C: UW, then all of the network", "C: UW, 160 px", "body"),
    ("C: cross entropy, then all of the network", "C: cross entropy, 160 px", "body"),
)


def table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    """Return a table of Markdown."""
    return [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *(f"| {' | '.join(line)} |" for line in lines)]


SHORT = ("erm", "jtt", "afr", "meta-lp", "background-adjust", "clp", "dfr", "uw", "group-dro")


def short() -> list[str]:
    """Return the rows of `rivals` that README shows."""
    return rivals(SHORT)


def rivals(names: Sequence[str] = ()) -> list[str]:
    """Return the worst group by method, in blocks by what is known. names: the rows to show; all rows when empty."""
    lines, before = [], ""
    for name, row in read_table(TABLE).rows.items():
        if names and name not in names:
            continue
        column = "sorted" if "worst" in row.without else "worst"
        last, selected = (of_table(TABLE, column, name, moment) for moment in ("last", "selected"))
        weighted = of_table(TABLE, column, name, "selected", "weighted_average")
        if not last:
            continue
        if row.block != before:
            lines.append([f"*{row.block}*", "", "", "", ""])
            before = row.block
        lines.append([row.title, shown(last), shown(selected), shown(weighted), seeds_of(last)])
    return table(["worst group, test", "last epoch", "selected", "weighted average, selected", "seeds"], lines)


def fresh() -> list[str]:
    """Return worst group, gap and share by fresh set."""
    lines = []
    for row, title in FRESH_ROWS.items():
        cells = []
        for name in SETS:
            share = share_of_fresh(name, row)
            cells += [shown(of_fresh(name, row)), shown(gap_of_fresh(name, row)), shown(share, 2)]
        lines.append([title, *cells])
    return table(["test, last epoch", *(f"{s}: {what}" for s in SETS for what in ("worst", "gap", "share"))], lines)


def share() -> list[str]:
    """Return where the share stops and the worst group that it leads to, by case."""
    lines = []
    for row, title in SHARE_ROWS.items():
        cells = []
        for case in CASES:
            cells += [shown(of_search(case, row)), shown(share_of_search(case, row), 2)]
        lines.append([title, *cells])
    return table(["val, last epoch", *(f"{case}{what}" for case in CASES for what in ("", ": share"))], lines)


def whole_network() -> list[str]:
    """Return the chains of commands in which the whole network learns."""
    lines = [
        [title, shown(of_chain(row, run, "val")), shown(of_chain(row, run)), seeds_of(of_chain(row, run))]
        for title, row, run in CHAINS
        if of_chain(row, run)
    ]
    return table(["worst group, last epoch, 160 px", "val", "test", "seeds"], lines)
