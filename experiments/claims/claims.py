"""README's figures and claims, made anew of the recorded results.

    python -m experiments.claims.claims            # writes them into README
    python -m experiments.claims.claims --check    # says whether README has them

A claim is a paired t test over the seeds that both sides have, two-sided; the p values of all claims together are
corrected after Holm, so a claim that is added makes the others harder. A test of the suite runs the check.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from scipy.stats import ttest_rel

from clp_aug.common.files import written_beside
from clp_train.bench.scores import holm

HERE = Path(__file__).parents[2]
BEGIN, END = "<!-- made by experiments.claims: -->", "<!-- :end -->"
BY_SEED = Mapping[int, float]


@cache
def read(path: str) -> Any:
    """Return what a JSON file of results holds."""
    return json.loads((HERE / path).read_text("utf-8"))


def of_table(table: str, column: str, row: str, moment: str = "last", measure: str = "worst") -> BY_SEED:
    """Return seed -> a figure of test in percent, of one row and column of a table of `clp-bench`."""
    runs = [r for r in read(f"results/{table}-cpu/table.json")["runs"] if (r["row"], r["column"]) == (row, column)]
    return {r["seed"]: 100 * r["metrics"][moment]["test"][measure] for r in runs if r["protocol"] == "common"}


def of_fresh(name: str, row: str, moment: str = "last") -> BY_SEED:
    """Return seed -> worst group of test in percent, of one row on one fresh set."""
    by_seed = read(f"experiments/fresh/results/{name}.json")["rows"][row]
    return {int(seed): 100 * found[moment]["test"]["worst"] for seed, found in by_seed.items()}


def of_search(case: str, row: str) -> BY_SEED:
    """Return seed -> worst group of val in percent at the last epoch, of one row of `search_share`."""
    by_seed = read(f"experiments/waterbirds/results/search_share_{case}.json")["rows"][row]
    return {int(seed): 100 * found["last"]["worst"] for seed, found in by_seed.items()}


def of_chain(row: str, run: str) -> BY_SEED:
    """Return seed -> worst group of test in percent at the last epoch, of one run of a chain of `whole_network`."""
    by_seed = read("experiments/waterbirds/results/whole_network.json")["rows"][row][run]
    return {int(seed): 100 * found["last"]["test"]["worst"] for seed, found in by_seed.items()}


class Claim(NamedTuple):
    """One side is above the other; each is a function that reads its figures, by seed."""

    what: str
    ours: Callable[[], BY_SEED]
    other: Callable[[], BY_SEED]


TABLE = "waterbirds-2026"
CLAIMS = (
    Claim(
        "CLP is above cross entropy", lambda: of_table(TABLE, "worst", "clp"), lambda: of_table(TABLE, "worst", "erm")
    ),
    Claim("CLP is above Meta-LP", lambda: of_table(TABLE, "worst", "clp"), lambda: of_table(TABLE, "worst", "meta-lp")),
)
ROWS = ("erm", "jtt", "afr", "meta-lp", "background-adjust", "clp", "dfr", "uw", "group-dro")
"""Rows of the table that README shows."""


def shown(values: BY_SEED) -> str:
    """Return mean and standard deviation as text."""
    return f"{statistics.fmean(values.values()):.1f} ± {statistics.stdev(values.values()):.1f}"


def tested(claims: tuple[Claim, ...]) -> list[str]:
    """Return a line of Markdown for each claim, with Holm's p over all of them."""
    pairs = []
    for claim in claims:
        ours, other = claim.ours(), claim.other()
        seeds = sorted(ours.keys() & other.keys())
        pairs.append(([ours[s] for s in seeds], [other[s] for s in seeds]))
    p_values = holm(float(ttest_rel(ours, other).pvalue) for ours, other in pairs)
    lines = ["| claim | ours | other | seeds | p, Holm's |", "|---|---|---|---|---|"]
    for claim, (ours, other), p in zip(claims, pairs, p_values, strict=True):
        sides = (f"{statistics.fmean(side):.1f}" for side in (ours, other))
        lines.append(f"| {claim.what} | {' | '.join(sides)} | {len(ours)} | {p:.2g} |")
    return lines


def block() -> str:
    """Return what stands in README between the marks."""
    return "\n".join([BEGIN, *tested(CLAIMS), END])


def with_block(text: str) -> str:
    """Return README with the block as it is now. Raises ValueError where its marks are not there."""
    begin, end = text.index(BEGIN), text.index(END) + len(END)
    return text[:begin] + block() + text[end:]


def main() -> None:
    """Write README's block, or check it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="Change nothing; exit code 1 where README has others.")
    arguments = parser.parse_args()
    path = HERE / "README.md"
    text = path.read_text("utf-8")
    made = with_block(text)
    if made != text and arguments.check:
        sys.exit("README has other figures than the results: python -m experiments.claims.claims")
    if made != text:
        with written_beside(path) as temporary:
            temporary.write_text(made, "utf-8")


if __name__ == "__main__":
    main()
