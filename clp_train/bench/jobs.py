"""The jobs for a table: shards, and trainings on them, each with a command and a folder named by its settings."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clp_aug.common.locks import lock_of
from clp_aug.common.plugins import is_code, short
from clp_aug.contract.errors import UsageError, pick
from clp_train.bench.job import Job, script
from clp_train.bench.spec import SCALES, Column, Row, Scale, Table
from clp_train.bench.versions import digest_of, origins, run_version, shard_version
from clp_train.presets.choosing import NONE
from clp_train.run_folder import LOCK, RESULT
from clp_train.running.checkpoint import CHECKPOINT

COMMON, OWN = "common", "own"
CACHE = "cache"  # folder of decoded pictures and features, shared by all runs
SHARDS = "shards"  # the row of the jobs that make shards


@dataclass(frozen=True)
class Shard:
    """One `clp-augment` run: the arguments without --out, and the file it writes."""

    arguments: tuple[str, ...]
    path: Path


@dataclass(frozen=True)
class Run:
    """One `clp-train` run: its place in the table, its shard, its arguments without --out, its folder."""

    row: str
    column: str
    seed: int
    protocol: str
    shard: Shard
    arguments: tuple[str, ...]
    folder: Path


def plan(
    table: Table, scale: str, seeds: Sequence[int], work: Path, rows: Sequence[str] = (), columns: Sequence[str] = ()
) -> list[Run]:
    """Return the runs of a table, seed by seed, so that an early stop leaves a whole table of fewer seeds.

    rows, columns: names; if empty, all rows, and all columns with settings for the scale. Raises UsageError for an
    unknown name, and for a column or a whole table without settings for the scale.
    """
    pick(dict.fromkeys(SCALES), scale, "scale")
    row_names = [pick(dict.fromkeys(table.rows), row, "row") or row for row in rows] or list(table.rows)
    column_names = [pick(dict.fromkeys(table.columns), name, "column") or name for name in columns] or table.at(scale)
    if not column_names:
        raise UsageError(f"table {table.name} has no settings of scale {scale}; take another scale")
    sources = dict.fromkeys(table.columns[name].shared or name for name in column_names)
    runs = []
    for seed in seeds:
        for name in sources:
            settings = scale_of(table.columns[name], name, scale)
            for row in (row for row in row_names if name not in table.rows[row].without):
                for protocol in (COMMON, OWN) if table.rows[row].own else (COMMON,):
                    runs.append(run_of(name, settings, row, table.rows[row], seed, protocol, work))
    return runs


def scale_of(column: Column, name: str, scale: str) -> Scale:
    """Return the settings of a column at a scale. Raises UsageError if there are none."""
    settings = getattr(column, scale)
    if settings is None:
        raise UsageError(f"column {name} has no settings of scale {scale}; leave it out with --columns")
    return settings


def run_of(name: str, settings: Scale, row_name: str, row: Row, seed: int, protocol: str, work: Path) -> Run:
    """Return one run. The name of its folder is a digest of settings, shard and code, not of its place in a table:
    rows, columns, tables and figures that need the same training share the folder.
    """
    shard = shard_of(settings, row, seed, work)
    extra = row.own if protocol == OWN else ()
    own = named_dataset(settings)
    arguments = ("--method", row.method, *own, *settings.train, *row.train, *extra, "--seed", str(seed))
    digest = digest_of([arguments, shard.path.name, run_version(row.method, arguments)])
    folder = work / "runs" / f"{short(row.method)}-seed{seed}-{digest}"
    return Run(row_name, name, seed, protocol, shard, arguments, folder)


def shard_of(settings: Scale, row: Row, seed: int, work: Path) -> Shard:
    """Return the shard of a row's fills; rows with the same fills share it."""
    fills = [word for option, value in (("--cf", row.cf), ("--f", row.f)) if value for word in (option, value)]
    arguments = (*settings.augment, *fills, "--ratio", str(row.ratio), "--seed", str(seed))
    own = origins(arguments)
    return Shard(arguments, work / "shards" / f"{digest_of([arguments, shard_version(), *([own] if own else [])])}.h5")


def named_dataset(settings: Scale) -> tuple[str, ...]:
    """Return the arguments of clp-train that name a plug-in data set; empty for a registered data set."""
    names = [value for option, value in itertools.pairwise(settings.augment) if option == "--dataset"]
    return ("--dataset", names[-1]) if names and is_code(names[-1], "data set") else ()


def jobs_of(runs: Sequence[Run]) -> list[Job]:
    """Return the jobs of runs, each once, with the shards that they need before them."""
    jobs: dict[Path, Job] = {}
    for run in runs:
        for job in (shard_job(run.shard), run_job(run)):
            jobs.setdefault(job.makes, job)
    return list(jobs.values())


def shard_job(shard: Shard) -> Job:
    """Return the job that makes a shard; it continues from the staging file of a killed one."""
    command = (
        script("clp-augment"),
        *shard.arguments,
        "--out",
        str(shard.path),
        "--workers",
        "1",
        "--quiet",
        "--resume",
    )
    return Job(SHARDS, command, shard.path, shard.path.with_suffix(".log"), lock_of(shard.path))


def run_job(run: Run) -> Job:
    """Return the job that does a run."""
    paths = ("--meta", str(run.shard.path), "--out", str(run.folder), "--cache", str(run.folder.parents[1] / CACHE))
    plain = () if "--preset" in run.arguments else ("--preset", NONE)  # a table states all its settings
    command = (script("clp-train"), *run.arguments, *plain, *paths, "--quiet")
    log, lock = run.folder.with_suffix(".log"), run.folder / LOCK
    return Job(run.row, command, run.folder / RESULT, log, lock, (run.shard.path,), run.folder / CHECKPOINT)
