"""Runs that a finished table already holds, so that a row or a seed can be added without doing the others again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clp_aug.contract.shards import ShardReader
from clp_train.bench.jobs import Run, plan
from clp_train.bench.scores import read_results
from clp_train.bench.spec import Table


def known_results(table: Table, scale: str, path: Path) -> list[dict]:
    """Return those results of a table.json that today's code, settings and tables would give again.

    No file means none. Raises InputError for a file that is no such table.
    """
    if not path.exists():
        return []
    results = read_results(path)
    seeds = sorted({result["seed"] for result in results})
    current = {(run.folder.name, run.row, run.column) for run in plan(table, scale, seeds, Path())}
    return [result for result in results if place_of(result) in current]


def of_same_data(results: Sequence[dict], runs: Sequence[Run]) -> list[dict]:
    """Return the results without those of a column whose shards, as they lie on disk, are of other data."""
    shards = {run.column: run.shard.path for run in runs if run.shard.path.exists()}
    here = {column: ShardReader(path).header.fingerprint for column, path in shards.items()}
    return [result for result in results if here.get(result["column"], result["fingerprint"]) == result["fingerprint"]]


def still_to_do(runs: Sequence[Run], results: Sequence[dict]) -> list[Run]:
    """Return the runs that no result is of."""
    there = {place_of(result) for result in results}
    return [run for run in runs if (run.folder.name, run.row, run.column) not in there]


def place_of(result: dict) -> tuple[str, str, str]:
    """Return a result's run, row and column; one run may stand in several rows and columns."""
    return result["run"], result["row"], result["column"]
