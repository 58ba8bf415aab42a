"""clp-bench: read a table, work off its runs, write it. Heavy imports wait until it runs."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clp_aug import __version__
from clp_aug.common.command import MAIN, Tool
from clp_aug.common.completing import offered
from clp_aug.common.files import check_name, disk_error, remove_leftovers
from clp_aug.common.terminal import one_line_errors, progress_bars, say
from clp_aug.contract.errors import ClpError, InputError, UsageError
from clp_aug.nets.devices import find_device
from clp_train.bench.engines import LOCAL, SLURM, Engine, given
from clp_train.bench.spec import SCALES, Table, names, read_table

if TYPE_CHECKING:
    from clp_train.bench.job import Job
    from clp_train.bench.orders import Order
    from clp_train.bench.queue import Place, Progress
    from clp_train.bench.scores import Result

ALL = "all"
MOST_SEEDS = 1000
PATH = click.Path(path_type=Path)
GROUPS = {
    MAIN: ("scale", "seeds", "methods", "columns", "work", "out", "workers", "device", "dry_run"),
    "Where runs are done": ("engine", "address", "gpus", "threads", "script"),
    "Output and help": ("extend", "quiet", "version", "help"),
}


class RunsFailed(ClpError):
    """Some runs failed; the rest is done (exit code 3)."""


def words(text: str) -> list[str]:
    """Return the parts of a comma list."""
    return [word for word in text.split(",") if word]


def seeds_of(text: str) -> list[int]:
    """Return seeds from "3" (0, 1, 2) or "0,4,5". Raises UsageError for text that is neither."""
    try:
        seeds = [int(word) for word in words(text)]
    except ValueError:
        seeds = []
    if "," not in text and len(seeds) == 1:
        if seeds[0] > MOST_SEEDS:
            raise UsageError(
                f"--seeds {text}: expected at most {MOST_SEEDS}; a single one is given with a comma, {text},"
            )
        seeds = list(range(seeds[0]))
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise UsageError(f"--seeds {text}: expected how many, or different seeds with commas between them, 0,1,2")
    return seeds


@click.command(
    cls=Tool, groups=GROUPS, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(__version__)
@click.argument("table", shell_complete=offered(lambda: (*names(), ALL)))
@click.option("--scale", default="cpu", help=f"Settings: {' or '.join(SCALES)}.  [default: cpu]",
              shell_complete=offered(lambda: SCALES))  # fmt: skip
@click.option("--seeds", default="3", help="Number of seeds, or a list of them: 0,1,2.  [default: 3]")
@click.option("--methods", default="", help="Rows, with commas between them.  [default: all]")
@click.option("--columns", default="", help="Columns, with commas between them.  [default: all]")
@click.option("--work", type=PATH, default=Path("bench"), help="Folder of shards and runs.  [default: bench]")
@click.option("--out", type=PATH, default=Path("results"), help="Folder of finished tables.  [default: results]")
@click.option("--workers", type=click.IntRange(1), help="Runs side by side; by default one a core, or all that fit.")
@click.option("--threads", type=click.IntRange(1), default=1, help="Threads of a run; 1 by default.")
@click.option(
    "--device", help="Where networks of runs compute, all on the same one: auto, cpu, cuda:1.  [default: auto]"
)
@click.option("--engine", default=LOCAL, help="local, ray, or slurm-array, which prints a script.  [default: local]")
@click.option("--address", help="Ray cluster: auto, or host:port of its head; without it one is started here.")
@click.option("--gpus", type=float, help="A job's share of a GPU of the Ray cluster, in (0, 1].  [default: none]")
@click.option("--script", type=PATH, help="File for the script of slurm-array.  [default: stdout]")
@click.option("--extend", is_flag=True, help="Keep runs that tables in --out hold, if code and data are the same.")
@click.option("--dry-run", is_flag=True, help="Print what would be run.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@one_line_errors("what is finished stays; give the same command again to continue")
def bench(
    table: str,
    scale: str,
    seeds: str,
    methods: str,
    columns: str,
    work: Path,
    out: Path,
    workers: int | None,
    threads: int,
    device: str | None,
    engine: str,
    address: str | None,
    gpus: float | None,
    script: Path | None,
    extend: bool,
    dry_run: bool,
    quiet: bool,
) -> None:
    """Make a table or a figure of the paper, all of them, or one of yours (FILE.toml); killed, it goes on where it was.

    clp-bench table2 --seeds 1 --methods erm,meta-lp,clp
    """
    from clp_train.bench.orders import (
        check_nothing_is_lost,
        jobs_to_do,
        orders_of,
        shard_jobs,
        with_known_results,
        without_other_data,
    )

    where = Engine(engine, address, gpus, script, workers, threads, device)
    if extend and engine == SLURM:
        raise UsageError(
            "--extend: the arrays make the shards that it needs; give it when they have, with --engine local"
        )
    if device is not None and engine == LOCAL:
        check_device(device)
    tables = tables_to_make(table, scale)
    orders = orders_of(tables, scale, seeds_of(seeds), work, out, words(methods), words(columns))
    if extend:
        orders = with_known_results(orders, scale, out)
    check_nothing_is_lost(orders)
    if dry_run:
        say_what_is_done(jobs_to_do(orders))
        return
    if engine == SLURM:
        options = given(scale=scale, seeds=seeds, methods=methods, columns=columns, work=work, out=out, threads=threads)
        write_script(jobs_to_do(orders), where, ["clp-bench", table, *options, *given(device=device)])
        return
    make_folder(work, "--work")
    with where.place(work) as place:
        if extend:  # shards first: they tell whether the data are those of the tables
            work_off_with_bar(place, shard_jobs(orders), quiet)
            orders = without_other_data(orders)
            check_nothing_is_lost(orders)
        make_folder(out, "--out")
        jobs = jobs_to_do(orders)
        failures = work_off_with_bar(place, jobs, quiet)
    say_what_failed(failures)
    write_finished(orders, scale)
    if failures:
        raise RunsFailed(f"{len(failures)} of {len(jobs)} jobs failed, see above; their logs lie in {work}")


def check_device(name: str) -> None:
    """Raise UsageError for a device that is not there."""
    from clp_train.config import spelt_as_options

    with spelt_as_options():
        find_device(name)


def tables_to_make(name: str, scale: str) -> list[Table]:
    """Return the table of a name, or all that have settings of a scale, and say which have none."""
    if name != ALL:
        return [read_table(name)]
    tables = [read_table(table_name) for table_name in names()]
    for table in tables:
        if not table.at(scale):
            say(f"{table.name}: left out, it has no settings of scale {scale}")
    return [table for table in tables if table.at(scale)]


def say_what_is_done(jobs: Sequence[Job]) -> None:
    """Print each job with whether it is done, then how many are; without jobs that there is nothing to run."""
    for job in jobs:
        say(("done  " if job.done else "to do ") + " ".join(("", *job.command[1:])).strip())
    say(f"{sum(job.done for job in jobs)} of {len(jobs)} done" if jobs else "nothing to run")


def say_what_failed(failures: Mapping[str, str]) -> None:
    """Print on stderr what could not be made, and why."""
    for product, reason in failures.items():
        say(f"{product}: {reason}", err=True)


def make_folder(folder: Path, option: str) -> None:
    """Make a folder that will be needed. Raises InputError when it cannot be made."""
    check_name(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make folder {folder} ({error.strerror}); choose another {option}") from None


def work_off_with_bar(place: Place, jobs: Sequence[Job], quiet: bool) -> dict[str, str]:
    """Work the jobs off at a place under a bar that says what is left; return what failed, and why."""
    from clp_train.bench.queue import seconds_left, work_off_at

    with progress_bars(quiet) as bar:
        task = bar.add_task("BENCH", total=len(jobs))

        def on_change(progress: Progress) -> None:
            seconds = seconds_left(jobs, progress, max(1, place.most))
            time_left = "" if seconds is None else f", {seconds / 3600:.1f} h left"
            failures = f", {len(progress.failed)} failed" if progress.failed else ""
            bar.update(task, completed=progress.done, description=f"BENCH{failures}{time_left}")

        return work_off_at(place, jobs, on_change).failed


def write_script(jobs: Sequence[Job], engine: Engine, command: Sequence[str]) -> None:
    """Write the script of the open jobs for Slurm, into a file or on stdout.

    Raises InputError when the disk refuses.
    """
    from clp_train.bench.arrays import script_of

    if all(job.done for job in jobs):
        say(f"nothing to run; the table: {shlex.join(command)}")
        return
    text = script_of(jobs, engine.threads, engine.device, engine.workers, command)
    if engine.script is None:
        click.echo(text, nl=False)
        return
    check_name(engine.script)
    try:
        engine.script.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise disk_error(engine.script, error) from None
    say(f"wrote {engine.script}; submit it with: bash {shlex.quote(str(engine.script))}")


def write_finished(orders: Sequence[Order], scale: str) -> None:
    """Write each table that has results, and say where."""
    from clp_train.bench.scores import collect

    for order in orders:
        results = order.results + collect(order.to_do)
        if results:
            say(f"wrote {write_table_and_figure(order.table, scale, results, order.folder)}")


def write_table_and_figure(table: Table, scale: str, results: list[Result], folder: Path) -> Path:
    """Write a table of results and its figure; return its Markdown, one process after another.

    Raises what the checks below raise, and InputError when the disk refuses.
    """
    from clp_aug.common.locks import held_for
    from clp_train.bench.figures import write_figure
    from clp_train.bench.known import check_kept, check_one_data, check_one_length, key_of
    from clp_train.bench.scores import check_splits
    from clp_train.bench.write import TABLE, write_table

    with held_for(folder, "queue", wait=True):
        check_kept(table, folder / TABLE, {key_of(result) for result in results})
        check_one_data(results)
        check_one_length(results)
        check_splits(table, results)
        paths = write_table(table, scale, results, folder) + write_figure(table, results, folder)
        for path in paths:
            remove_leftovers(path)
    return paths[1]
