"""Runs that finished tables already hold, so that a new row or seed does not repeat the others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clp_aug.contract.errors import InputError, UsageError
from clp_aug.contract.shards import ShardReader
from clp_train.bench.jobs import COMMON, Run, plan
from clp_train.bench.scores import Result, read_results
from clp_train.bench.spec import Table
from clp_train.bench.write import TABLE

Place = tuple[str, str, int, str]
"""The place of a result in its table: row, column, seed, protocol."""
REMEDY = "remove the folders of old runs from --work, or the table from --out, and give the command again"


def known_results(table: Table, scale: str, path: Path) -> list[Result]:
    """Return the results of a table.json that the present code, settings and tables would give again.

    A missing file has none. Raises InputError for a file that is not such a table.
    """
    if not path.exists():
        return []
    results = read_results(path)
    seeds = sorted({result["seed"] for result in results})
    current = {place_of_run(run) for run in plan(table, scale, seeds, Path())}
    return [result for result in results if place_of(result) in current]


def shared_results(runs: Sequence[Run], own_results: Sequence[Result], scale: str, out: Path) -> list[Result]:
    """Return results for runs without a known one, from any finished table of this scale below `out`.

    Several tables may share one training: its result is copied to the row and column that need it. Raises InputError
    for a table.json that is not such a table.
    """
    finished_runs = {
        (result["run"], result["seed"]): result
        for path in sorted(out.glob(f"*-{scale}/{TABLE}"))
        for result in read_results(path)
    }
    return [
        finished_runs[run.folder.name, run.seed] | {"row": run.row, "column": run.column, "protocol": run.protocol}
        for run in still_to_do(runs, own_results)
        if (run.folder.name, run.seed) in finished_runs
    ]


def of_same_data(results: Sequence[Result], runs: Sequence[Run]) -> list[Result]:
    """Return the results, without columns whose shards on disk have other data."""
    shards = {run.column: run.shard.path for run in runs if run.shard.path.exists()}
    fingerprints = {column: ShardReader(path).header.fingerprint for column, path in shards.items()}
    return [
        result
        for result in results
        if fingerprints.get(result["column"], result["fingerprint"]) == result["fingerprint"]
    ]


def still_to_do(runs: Sequence[Run], results: Sequence[Result]) -> list[Run]:
    """Return the runs without a result."""
    places = {place_of(result) for result in results}
    return [run for run in runs if place_of_run(run) not in places]


def check_kept(table: Table, path: Path, places: set[Place]) -> None:
    """Raise UsageError if a table.json holds runs that a new one with these places would lose.

    places: row, column, seed and protocol of each run of the new one. Rows and columns that the table no longer has do
    not count. Raises InputError for a file that is not such a table.
    """
    keys = {key_of(result) for result in read_results(path)} if path.exists() else set()
    lost_keys = {key for key in keys - places if key[0] in table.rows and key[1] in table.columns}
    if lost_keys:
        row, column, seed, _ = min(lost_keys)
        raise UsageError(
            f"{path} holds {len(lost_keys)} runs that the new table would lose, such as {row}, {column}, seed"
            f" {seed}: give --extend to keep those of the present code and data, ask for all, or give another --out"
        )


def key_of(result: Result) -> Place:
    """Return the place of a result in its table: row, column, seed, protocol."""
    return result["row"], result["column"], result["seed"], result.get("protocol", COMMON)


def check_one_data(results: Sequence[Result]) -> None:
    """Raise InputError if the runs of a column used different data, because these cannot be compared."""
    by_column: dict[str, dict[str, Result]] = {}
    for result in results:
        by_column.setdefault(result["column"], {}).setdefault(result["fingerprint"], result)
    for column, by_data in by_column.items():
        if len(by_data) > 1:
            names = ", ".join(
                f"{result['run']} (data {fingerprint[:12]})" for fingerprint, result in sorted(by_data.items())
            )
            raise InputError(f"column {column}: its runs used different data, such as {names}; {REMEDY}")


def check_one_length(results: Sequence[Result]) -> None:
    """Raise InputError if the mean of a figure would mix lengths: numbers of epochs in the runs of a cell, or numbers
    of classes in the runs of a column.
    """
    by_what: dict[str, dict[int, str]] = {}
    for result in results:
        column, row, protocol = result["column"], result["row"], result["protocol"]
        lengths = {f"column {column}, row {row}, {protocol} protocol: its runs differ in epochs": result["history"]}
        for split, metrics in result["metrics"]["last"].items():
            if "per_class" in metrics:
                lengths[f"column {column}: its runs differ in classes on split {split}"] = metrics["per_class"]
        for what, values in lengths.items():
            by_what.setdefault(what, {}).setdefault(len(values), result["run"])
    for what, by_length in by_what.items():
        if len(by_length) > 1:
            names = ", ".join(f"{run} ({length})" for length, run in sorted(by_length.items()))
            raise InputError(f"{what}, such as {names}; {REMEDY}")


def place_of(result: Result) -> tuple[str, Place]:
    """Return a result's run and its place; one run may be in several rows and columns."""
    return result["run"], key_of(result)


def place_of_run(run: Run) -> tuple[str, Place]:
    """Return what `place_of` returns for the result of a run."""
    return run.folder.name, (run.row, run.column, run.seed, run.protocol)
