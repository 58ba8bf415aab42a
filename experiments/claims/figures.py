"""Figures of recorded results, by seed, in percent."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parents[2]
BySeed = Mapping[int, float]
"""Seed -> a figure."""


@cache
def read(path: str) -> Any:
    """Return the content of a JSON file of results. path: relative to the root of the project."""
    return json.loads((HERE / path).read_text("utf-8"))


def of_table(table: str, column: str, row: str, moment: str = "last", measure: str = "worst") -> BySeed:
    """Return a test figure of one row and column of a table of `clp-bench`; seeds without a run are left out."""
    runs = [r for r in read(f"results/{table}-cpu/table.json")["runs"] if (r["row"], r["column"]) == (row, column)]
    return {r["seed"]: 100 * r["metrics"][moment]["test"][measure] for r in runs if r["protocol"] == "common"}


def of_fresh(name: str, row: str, moment: str = "last") -> BySeed:
    """Return the worst group of test of one row on one fresh set."""
    return {s: 100 * found[moment]["test"]["worst"] for s, found in fresh_rows(name, row).items()}


def gap_of_fresh(name: str, row: str) -> BySeed:
    """Return the audit's background gap on test, in points, of one row on one fresh set."""
    return {s: 100 * found["audit"]["gap"][0] for s, found in fresh_rows(name, row).items()}


def share_of_fresh(name: str, row: str) -> BySeed:
    """Return the share of the background at the end, not in percent; seeds without a share are left out."""
    return {s: found["background_share"] for s, found in fresh_rows(name, row).items() if "background_share" in found}


def fresh_rows(name: str, row: str) -> dict[int, Any]:
    """Return the results of one row on a fresh set, by seed."""
    return {int(s): found for s, found in read(f"experiments/fresh/results/{name}.json")["rows"][row].items()}


def of_search(case: str, row: str, moment: str = "last") -> BySeed:
    """Return the worst group of val of one row of `search_share`."""
    return {s: 100 * found[moment]["worst"] for s, found in search_rows(case, row).items()}


def share_of_search(case: str, row: str) -> BySeed:
    """Return the share of the background at the end, not in percent; seeds without a share are left out."""
    return {s: found["share"][-1] for s, found in search_rows(case, row).items() if "share" in found}


def search_rows(case: str, row: str) -> dict[int, Any]:
    """Return the results of `search_share` for one row in one case, by seed; empty if it was not run."""
    rows = read(f"experiments/waterbirds/results/search_share_{case}.json")["rows"]
    return {int(s): found for s, found in rows.get(row, {}).items()}


def of_chain(row: str, run: str, split: str = "test") -> BySeed:
    """Return the worst group at the last epoch, of one run of a chain of `whole_network`."""
    by_seed = read("experiments/waterbirds/results/whole_network.json")["rows"].get(row, {}).get(run, {})
    return {int(s): 100 * found["last"][split]["worst"] for s, found in by_seed.items()}


def shown(values: BySeed, digits: int = 1) -> str:
    """Return mean and standard deviation as text; only the mean for one value, "" for none."""
    if not values:
        return ""
    mean = f"{statistics.fmean(values.values()):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values.values()):.{digits}f}"


def seeds_of(*some: BySeed) -> str:
    """Return the number of seeds, "2 to 5" if it differs; rows without any seed do not count."""
    counts = sorted({len(values) for values in some if values})
    return "" if not counts else str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
