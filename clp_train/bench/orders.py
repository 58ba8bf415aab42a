"""The tables of a command: the runs that each needs, those that finished tables hold, and those that are left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from clp_train.bench.job import Job
from clp_train.bench.jobs import SHARDS, Run, jobs_of, plan
from clp_train.bench.known import check_kept, key_of, known_results, of_same_data, shared_results, still_to_do
from clp_train.bench.scores import Result
from clp_train.bench.spec import Table
from clp_train.bench.write import TABLE


@dataclass(frozen=True)
class Order:
    """One table of the command. folder: of the finished table; runs: all that it needs; results: known results, so that
    their runs are not done again.
    """

    table: Table
    folder: Path
    runs: Sequence[Run]
    results: list[Result] = field(default_factory=list)

    @property
    def to_do(self) -> list[Run]:
        """The runs without a known result."""
        return still_to_do(self.runs, self.results)


def orders_of(
    tables: Sequence[Table],
    scale: str,
    seeds: Sequence[int],
    work: Path,
    out: Path,
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
) -> list[Order]:
    """Return an order for each table. Raises what `plan` raises."""
    return [
        Order(table, out / f"{table.name}-{scale}", plan(table, scale, seeds, work, rows, columns)) for table in tables
    ]


def with_known_results(orders: Sequence[Order], scale: str, out: Path) -> list[Order]:
    """Return the orders with the results of finished tables. Raises InputError for a table.json that is not a table."""
    known_orders = [replace(order, results=known_results(order.table, scale, order.folder / TABLE)) for order in orders]
    return [
        replace(order, results=order.results + shared_results(order.runs, order.results, scale, out))
        for order in known_orders
    ]


def without_other_data(orders: Sequence[Order]) -> list[Order]:
    """Return the orders without known results on other data than that of the shards; the shards must exist."""
    return [replace(order, results=of_same_data(order.results, order.runs)) for order in orders]


def check_nothing_is_lost(orders: Sequence[Order]) -> None:
    """Raise UsageError if a finished table holds a run that the new one would not."""
    for order in orders:
        places = {(run.row, run.column, run.seed, run.protocol) for run in order.to_do}
        check_kept(order.table, order.folder / TABLE, places | {key_of(result) for result in order.results})


def shard_jobs(orders: Sequence[Order]) -> list[Job]:
    """Return the jobs that make the shards of all runs, known or not; each once."""
    return [job for job in jobs_of([run for order in orders for run in order.runs]) if job.row == SHARDS]


def jobs_to_do(orders: Sequence[Order]) -> list[Job]:
    """Return the jobs of the runs that are not known, and of their shards; each once."""
    return jobs_of([run for order in orders for run in order.to_do])
