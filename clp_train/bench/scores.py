"""The cells of a table: the runs' figures, their mean and spread, tests against the best other method, ranks."""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scipy.stats import ttest_rel

from clp_aug.common.files import disk_error
from clp_aug.contract.errors import InputError
from clp_train.bench.jobs import COMMON, OWN, Run
from clp_train.bench.parts import KEPT, LATER, fault_of
from clp_train.bench.spec import Table
from clp_train.evaluating.raised_losses import RIGHT_UP, WRONG_UP
from clp_train.report.page import read_result, result_of_a_run
from clp_train.run_folder import RESULT

Result = dict[str, Any]
"""The kept part of one run, plain JSON, as `summarise` returns it."""
WHENS = ("last", "selected", "best_on_test")
LOWER = ("error",)
"""Measures for which lower is better."""
CURVES = (RIGHT_UP, WRONG_UP)
"""The kept keys of every epoch."""
OWN_METHOD = "clp"


def collect(runs: Sequence[Run]) -> list[Result]:
    """Return the small result of each run that is done, plain JSON. Raises InputError for one that cannot be read."""
    return [small_result(run) for run in runs if (run.folder / RESULT).exists()]


def small_result(run: Run) -> Result:
    """Return the small result of a run that is done. Raises InputError for a part with a wrong value."""
    with result_of_a_run(run.folder):
        result = summarise(run, read_result(run.folder))
        fault = fault_of(result)
        if fault:
            raise ValueError(fault)
        return result


def summarise(run: Run, result: dict[str, Any]) -> Result:
    """Return the parts of a run's result that a table needs, and its origin, without paths."""
    metrics = {}
    for moment in WHENS:
        splits = (result.get(moment) or {"metrics": {}})["metrics"]
        metrics[moment] = {split: {key: m[key] for key in KEPT if key in m} for split, m in splits.items()}
    history = [{key: line[key] for key in CURVES if key in line} for line in result["history"]]
    return {
        "run": run.folder.name, "row": run.row, "column": run.column, "seed": run.seed, "protocol": run.protocol,
        "augment": list(run.shard.arguments), "train": list(run.arguments), "metrics": metrics, "history": history,
        "attention": result.get("attention"), "seconds": result["seconds"],
        "cpu_seconds": result["cpu_seconds"], "epochs": len(result["history"]),
        "fingerprint": result["fingerprint"], "versions": result["versions"],
    } | {key: result[key] for key in LATER if key in result}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One cell. values: seed -> figure in percent; p: Holm's, of the project's method against the best other one;
    better: whether it is better than that one over their common seeds, None without a test.
    """

    values: Mapping[int, float]
    own: Mapping[int, float]
    quoted: float | None
    rank: int | None = None
    p: float | None = None
    better: bool | None = None

    @property
    def mean(self) -> float | None:
        """Over the seeds."""
        return statistics.fmean(self.values.values()) if self.values else None

    @property
    def sd(self) -> float | None:
        """Over the seeds, None of fewer than two."""
        return statistics.stdev(self.values.values()) if len(self.values) > 1 else None


def cells(table: Table, results: Sequence[Result], moment: str) -> dict[str, dict[str, Cell]]:
    """Return row -> column -> cell at one moment of the runs, a moment of WHENS.

    For a run without validation pictures the last epoch counts.
    """
    grid: dict[str, dict[str, Cell]] = {row: {} for row in table.rows}
    for name, column in table.columns.items():
        source = column.shared or name
        by_row: dict[str, dict[str, dict[int, float]]] = {row: {COMMON: {}, OWN: {}} for row in table.rows}
        for result in results:
            if result["column"] == source and result["row"] in by_row:
                value = figure(result, column.measure, column.split, moment)
                if value is not None:
                    by_row[result["row"]][result["protocol"]][result["seed"]] = value
        ranks = rank({row: parts[COMMON] for row, parts in by_row.items()}, column.measure)
        for row, parts in by_row.items():
            grid[row][name] = Cell(parts[COMMON], parts[OWN], table.rows[row].quoted.get(name), ranks.get(row))
    return compare_with_best(table, grid)


def figure(result: Result, measure: str, split: str, moment: str) -> float | None:
    """Return one figure of a run in percent, None if it has none."""
    metrics = result["metrics"].get(moment, {}).get(split)
    if metrics is None and moment == "selected":
        metrics = result["metrics"]["last"].get(split)
    if metrics is None:
        return None
    key = {"error": "average", "accuracy": "average", "weighted": "weighted_average"}.get(measure, measure)
    share = metrics.get(key)
    if share is None:
        return None
    return 100 * (1 - share) if measure == "error" else 100 * share


def check_splits(table: Table, results: Sequence[Result]) -> None:
    """Raise InputError for a column that names a split on which none of its runs was measured."""
    for name, column in table.columns.items():
        of_column = [result["metrics"]["last"] for result in results if result["column"] == (column.shared or name)]
        if of_column and not any(column.split in metrics for metrics in of_column):
            splits = ", ".join(dict.fromkeys(split for metrics in of_column for split in metrics))
            raise InputError(f"column {name}: no run was measured on split {column.split!r}; take one of {splits}")


def rank(values: Mapping[str, Mapping[int, float]], measure: str) -> dict[str, int]:
    """Return the rank of each row that has figures, 1 for the best mean; equal means share a rank."""
    sign = 1 if measure in LOWER else -1
    means = {row: sign * statistics.fmean(by_seed.values()) for row, by_seed in values.items() if by_seed}
    return {row: 1 + sum(other < mean for other in means.values()) for row, mean in means.items()}


def compare_with_best(table: Table, grid: dict[str, dict[str, Cell]]) -> dict[str, dict[str, Cell]]:
    """Set p of a paired t test against the best other method in the cells of the project's own method.

    The test is two-sided, over at least two common seeds, and corrected over the columns after Holm.
    """
    own_row = next((row for row, spec in table.rows.items() if spec.method == OWN_METHOD), None)
    if own_row is None:
        return grid
    raw: dict[str, float] = {}
    better: dict[str, bool] = {}
    for column, spec in table.columns.items():
        other = best_other(table, grid, column)
        if other is None:
            continue
        own_values, other_values = grid[own_row][column].values, grid[other][column].values
        seeds = sorted(own_values.keys() & other_values.keys())
        pairs = [(own_values[seed], other_values[seed]) for seed in seeds]
        if len(pairs) > 1 and len({round(a - b, 9) for a, b in pairs}) > 1:
            raw[column] = float(ttest_rel(*zip(*pairs, strict=True)).pvalue)
            better[column] = (sum(a - b for a, b in pairs) > 0) != (spec.measure in LOWER)
    for column, p in zip(raw, holm(raw.values()), strict=True):
        grid[own_row][column] = replace(grid[own_row][column], p=p, better=better[column])
    return grid


def best_other(table: Table, grid: Mapping[str, Mapping[str, Cell]], column: str) -> str | None:
    """Return the best-ranked row that is not the project's own method, None if there is none."""
    others = [row for row, spec in table.rows.items() if spec.method != OWN_METHOD]
    ranks = {row: rank for row in others if (rank := grid[row][column].rank)}
    return min(ranks, key=ranks.__getitem__) if ranks else None


def holm(values: Iterable[float]) -> list[float]:
    """Return p values corrected for their number, in their order. Source: Holm 1979."""
    values = list(values)
    order = sorted(range(len(values)), key=values.__getitem__)
    corrected, highest = [0.0] * len(values), 0.0
    for place, i in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - place) * values[i]))
        corrected[i] = highest
    return corrected


@dataclass(frozen=True)
class Cost:
    """seconds: processor time per epoch, which other work on the machine does not change, the median over the columns
    of a preset and over seeds; ratio: to plain cross entropy of the same column and seed, the median, None if cross
    entropy took no measurable time: times are in tenths of a second.
    """

    seconds: float
    ratio: float | None


def costs(table: Table, results: Sequence[Result]) -> dict[str, dict[str, Cost]]:
    """Return the cost of each row with runs on the common protocol, by preset, because networks differ in time."""
    plain = next((row for row, spec in table.rows.items() if spec.method == "erm"), None)
    times: dict[str, dict[str, dict[tuple[str, int], float]]] = {}
    for r in sorted(results, key=lambda r: list(table.columns).index(r["column"])):
        if r["protocol"] == COMMON:
            of_row = times.setdefault(preset_of(r), {}).setdefault(r["row"], {})
            of_row[r["column"], r["seed"]] = r["cpu_seconds"] / max(1, r["epochs"])
    cost: dict[str, dict[str, Cost]] = {}
    for preset, rows in times.items():
        base = {} if plain is None else rows.get(plain, {})
        for row, seconds in rows.items():
            ratios = [value / base[cell] for cell, value in seconds.items() if base.get(cell)]
            ratio = statistics.median(ratios) if ratios else None
            cost.setdefault(preset, {})[row] = Cost(statistics.median(seconds.values()), ratio)
    return cost


def preset_of(result: Result) -> str:
    """Return the preset of a run, "" for none."""
    presets = [value for option, value in itertools.pairwise(result["train"]) if option == "--preset"]
    return presets[-1] if presets else ""


def read_results(path: Path) -> list[Result]:
    """Return the results in a table.json. Raises InputError for a file that is not a table or cannot be read."""
    try:
        runs = json.loads(path.read_bytes().decode())["runs"]
    except OSError as error:
        raise disk_error(path, error, "read") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        runs = None
    if not isinstance(runs, list):
        faults = ["expected JSON with a list of runs"]
    else:
        faults = [f"runs[{i}]: {fault}" for i, run in enumerate(runs) if (fault := fault_of(run))]
    if faults:
        raise InputError(f"{path}: not a table of results ({faults[0]}); remove it, or give another --out")
    return runs
