"""The figures and claims of README and the docs, made again from the recorded results.

    python -m experiments.claims.claims            # writes them into README and the docs
    python -m experiments.claims.claims --check    # says whether they are there

A block is between two marks. A claim is a two-sided paired t test over the seeds that both sides have. The p values of
all claims together are corrected by Holm's method, so each new claim makes the others harder. A test runs the check.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from scipy.stats import ttest_rel

from clp_aug.common.files import written_beside
from clp_train.bench.scores import holm
from experiments.claims import tables
from experiments.claims.figures import HERE, BySeed, of_chain, of_fresh, of_search, of_table
from experiments.common.blocks import with_blocks

MAKER = "experiments.claims"
FILES = ("README.md", "docs/explanation/without-groups.md")


class Claim(NamedTuple):
    """Two sides that are compared; each is a function that reads its figures, by seed."""

    what: str
    ours: Callable[[], BySeed]
    other: Callable[[], BySeed]


def rival(row: str, moment: str = "last") -> Callable[[], BySeed]:
    """Return a function that reads one row of the table of rivals."""
    return lambda: of_table(tables.TABLE, "worst", row, moment)


def fresh(name: str, row: str) -> Callable[[], BySeed]:
    """Return a function that reads one row on a fresh set."""
    return lambda: of_fresh(name, row)


def search(case: str, row: str) -> Callable[[], BySeed]:
    """Return a function that reads one row of the search for the point where the share stops."""
    return lambda: of_search(case, row)


DEFAULT, BEFORE = "chance, none, from 1", "not-y, Omega"
CLAIMS = (
    *(Claim(f"waterbirds_like, test, last epoch: CLP and {title}", rival("clp"), rival(row))
      for row, title in (("erm", "cross entropy"), ("jtt", "JTT"), ("afr", "AFR"), ("eiil", "EIIL"),
                         ("meta-lp", "Meta-LP"), ("background-adjust", "its start"), ("uw", "UW"),
                         ("group-dro", "GroupDRO"))),
    *(Claim(f"{name}, test, last epoch: CLP and {title}", fresh(name, "clp"), fresh(name, row))
      for name in tables.SETS for row, title in (("erm", "cross entropy"), ("background-adjust", "its start"))),
    *(Claim(f"{case}, val, last epoch: CLP as by default and {title}", search(case, DEFAULT), search(case, row))
      for case in tables.CASES for row, title in (("start", "its start"), (BEFORE, "CLP as before"))),
    Claim("all of the network, test, last epoch: CLP's start, head first, and GroupDRO, head first",
          lambda: of_chain("B, 160 px", "body"), lambda: of_chain("C: GroupDRO, 160 px", "body")),
)  # fmt: skip


def claims(some: Sequence[Claim] = CLAIMS) -> list[str]:
    """Return a line of Markdown for each claim, with Holm's p over all of them."""
    pairs = [both_sides(claim.ours(), claim.other()) for claim in some]
    raw = [p_value(*pair) for pair in pairs]
    corrected = iter(holm(p for p in raw if p is not None))
    lines = []
    for claim, (ours, other), p in zip(some, pairs, raw, strict=True):
        means = [f"{statistics.fmean(side):.1f}" for side in (ours, other)]
        lines.append([claim.what, *means, str(len(ours)), "" if p is None else f"{next(corrected):.2g}"])
    return tables.table(["what is compared, worst group", "the first", "the other", "seeds", "p, Holm's"], lines)


def both_sides(ours: BySeed, other: BySeed) -> tuple[list[float], list[float]]:
    """Return the figures of the seeds that both have, in the same order."""
    seeds = sorted(ours.keys() & other.keys())
    return [ours[seed] for seed in seeds], [other[seed] for seed in seeds]


def p_value(ours: Sequence[float], other: Sequence[float]) -> float | None:
    """Return p of a two-sided paired t test; None if all differences are equal: the test cannot judge them."""
    differences = {round(a - b, 9) for a, b in zip(ours, other, strict=True)}
    return float(ttest_rel(ours, other).pvalue) if len(differences) > 1 else None


BLOCKS: dict[str, Callable[[], list[str]]] = {
    "short": tables.short, "rivals": tables.rivals, "fresh": tables.fresh, "share": tables.share,
    "network": tables.whole_network, "claims": claims,
}  # fmt: skip


def stale(root: Path = HERE) -> dict[Path, str]:
    """Return the files whose blocks differ from the results -> the text that they should have."""
    texts = {root / name: (root / name).read_text("utf-8") for name in FILES}
    made = {path: with_blocks(text, BLOCKS, MAKER) for path, text in texts.items()}
    return {path: text for path, text in made.items() if text != texts[path]}


def main() -> None:
    """Write the blocks, or check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="Change nothing; exit code 1 if a file has other figures.")
    arguments = parser.parse_args()
    files = stale()
    if files and arguments.check:
        names = ", ".join(path.name for path in files)
        sys.exit(f"{names}: other figures than the results; python -m experiments.claims.claims writes them")
    for path, text in files.items():
        with written_beside(path) as temporary:
            temporary.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
