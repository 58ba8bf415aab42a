"""clp-compare: parse, read runs, compare, print. Heavy imports wait until runs are read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clp_aug import __version__
from clp_aug.common.command import Tool
from clp_aug.common.files import check_name, disk_error
from clp_aug.common.terminal import one_line_errors, progress_bars, say
from clp_aug.contract.errors import UsageError
from clp_aug.nets.devices import AUTO, HELP

if TYPE_CHECKING:
    from clp_train.report.compare import Compared

PATH = click.Path(path_type=Path)


@click.command(cls=Tool, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__)
@click.argument("runs", metavar="RUN RUN ...", type=PATH, nargs=-1)
@click.option("--out", type=PATH, default=Path("compare.html"), show_default=True, help="Page to write.")
@click.option("--meta", type=PATH, metavar="AUDIT-SHARD",
              help="Also audit every run on this shard of clp-augment --audit.")  # fmt: skip
@click.option("--device", default=AUTO, show_default=True, help=HELP)
@click.option("--quiet", is_flag=True, help="Show no progress.")
@click.option("--json", "as_json", is_flag=True, help="Print figures as JSON in place of the table.")
@one_line_errors("no page was written")
def compare(runs: tuple[Path, ...], out: Path, meta: Path | None, device: str, quiet: bool, as_json: bool) -> None:
    """Compare finished runs on the same data in one page: figures, groups, curves, single pictures, attention.

    RUN is a folder that clp-train wrote. Runs that differ only in their seeds are shown together, with mean and
    standard deviation.

    clp-compare runs/demo-erm-seed0 runs/demo-clp-seed0 --out compare.html
    """
    check_arguments(runs, out, meta)
    from clp_aug.nets.devices import find_device
    from clp_train.report.compare import as_json as plain
    from clp_train.report.compare import compared, write_compare_page
    from clp_train.report.compare_audits import audit_reader, audits_of
    from clp_train.report.compare_looks import looks_of
    from clp_train.report.compare_runs import read_runs

    find_device(device)
    read = read_runs(runs)
    if meta is not None:
        audit_reader(meta)  # before anything is asked
    with progress_bars(quiet) as bars:
        watch = lambda rows, name: bars.track(rows, description=name)  # noqa: E731
        audits = None if meta is None else audits_of(read, meta, device, watch)
        looks = looks_of(read, meta, device, watch)
    found = compared(read, looks, audits)
    write_compare_page(out, found)
    if as_json:
        click.echo(json.dumps({"page": str(out), **plain(found)}))
        return
    show(found)
    say(f"wrote {out}")


def check_arguments(runs: Sequence[Path], out: Path, meta: Path | None) -> None:
    """Raise UsageError for a page that is a folder or the shard, InputError for one that cannot be written."""
    if not runs:
        raise UsageError("expected RUN RUN ..., the folders of two finished runs or more; clp-train writes them")
    if out.is_dir() or (meta is not None and out.absolute() == meta.absolute()):
        what = "it is a folder" if out.is_dir() else "it is the shard"
        raise UsageError(f"--out {out}: {what}; give the name of a new page")
    check_name(out)
    if not out.parent.is_dir():
        raise disk_error(out, FileNotFoundError(2, "No such file or directory"))


def show(found: Compared) -> None:
    """Print the headline on stdout, and what could not be shown on stderr."""
    from clp_aug.common.consoles import PlainConsole
    from clp_train.report.compare_parts import headline_table

    console = PlainConsole()
    if not console.is_terminal:
        console = PlainConsole(width=160)  # a pipe has no width of its own
    console.print(headline_table(found.runs, found.rows, found.extra))
    for remark in remarks(found):
        say(remark, err=True)


def remarks(found: Compared) -> list[str]:
    """Return what the page lacks, a line each."""
    lines = [f"no table of pictures, {split}: {why}" for split, why in found.answers.items() if isinstance(why, str)]
    lines += [f"no Grad-CAM: {remark}" for remark in found.looks.remarks]
    if found.audits is not None:
        pairs = zip(found.runs.runs, found.audits.by_run, strict=True)
        lines += [f"no audit of {run.name}: {why}" for run, why in pairs if isinstance(why, str)]
    return lines
