"""clp-audit: parse, open models, audit, print. Heavy imports wait until a run starts."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clp_aug import __version__
from clp_aug.common.command import MAIN, Tool
from clp_aug.common.completing import files
from clp_aug.common.files import check_name, disk_error
from clp_aug.common.terminal import one_line_errors, progress_bars, say
from clp_aug.contract.errors import GapTooLarge, UsageError
from clp_aug.nets.devices import AUTO, HELP

if TYPE_CHECKING:
    from clp_aug.contract.shards import ShardReader
    from clp_train.auditing.audit import Audit
    from clp_train.auditing.figures import Comparison

PATH = click.Path(path_type=Path)
NO_USUAL_PLACE = ("folder", "table")  # data sets that lie anywhere
DATA = "data"
MOST_MODELS = 2
GROUPS = {
    MAIN: ("meta", "html", "max_gap", "device"),
    "Models": ("classes", "mapping", "no_maps", "model", "method"),
    "Output and help": ("as_json", "quiet", "version", "help"),
}


class WithData(Tool):
    """A command that hands over to `clp-audit data` where its first word is that."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Return the context of the command that is meant."""
        if args[:1] == [DATA]:
            from clp_train.audit_data_cli import data

            return data.make_context(f"{info_name} {DATA}", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that the context is of."""
        return super().invoke(ctx) if ctx.command is self else ctx.command.invoke(ctx)


@click.command(
    cls=WithData,
    groups=GROUPS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__)
@click.argument("models", metavar="MODEL [MODEL2]", nargs=-1, shell_complete=files)
@click.option(
    "--meta", type=PATH, metavar="SHARD", help="Audit set, a shard that clp-augment --audit wrote.  [required]"
)
@click.option("--classes", type=PATH, metavar="FILE",
              help="Names of the model's classes, one per line or a JSON list, if the model has none.")  # fmt: skip
@click.option("--mapping", type=PATH, metavar="FILE",
              help="CSV with columns model,shard: for classes of the model, the class of the shard.")  # fmt: skip
@click.option("--html", type=PATH, metavar="PAGE", help="Also write a page with pictures under each view.")
@click.option("--json", "as_json", is_flag=True, help="Print figures as JSON in place of tables.")
@click.option("--max-gap", type=click.FloatRange(0, 100), metavar="POINTS",
              help="End with exit code 5 if the last model's gap is larger, or not known well enough.")  # fmt: skip
@click.option("--no-maps", is_flag=True, help="Make no maps of where the model looks (Grad-CAM).")
@click.option("--model", metavar="NAME", help="A run's model if it is a plug-in; without this, its code is not run.")
@click.option("--method", metavar="NAME", help="A run's method if it is a plug-in.")
@click.option("--device", default=AUTO, show_default=True, help=HELP)
@click.option("--quiet", is_flag=True, help="Show no progress.")
@one_line_errors("no page was written")
def audit(
    models: tuple[str, ...],
    meta: Path | None,
    classes: Path | None,
    mapping: Path | None,
    html: Path | None,
    as_json: bool,
    max_gap: float | None,
    no_maps: bool,
    model: str | None,
    method: str | None,
    device: str,
    quiet: bool,
) -> None:
    """Say how much a classifier owes to backgrounds: right answers on backgrounds of an object's own class, minus
    those on other classes' backgrounds, with intervals and a verdict. Two models are compared on the same pictures.

    MODEL is the folder of a run, FILE.pt2, FILE.onnx, timm:NAME@FILE, torchvision:NAME@FILE, efficientnet-lite0,
    MODULE:NAME or FILE.py:NAME.

    \b
    clp-augment --audit --dataset waterbirds --out audit.h5
    clp-audit runs/erm runs/clp --meta audit.h5 --html audit.html

    clp-audit data --dataset NAME needs no model: it says how well the backgrounds of a data set predict its labels
    (clp-audit data --help; a model in a folder named data is ./data).
    """
    path = check_arguments(models, meta, html)
    from clp_aug.common.memory import keep_freed_memory
    from clp_aug.contract.shards import ShardReader
    from clp_train.auditing.audit import audit as run_audit
    from clp_train.auditing.classes import match_classes
    from clp_train.auditing.subject import open_subject
    from clp_train.auditing.views import read_audit_set

    keep_freed_memory()
    reader = ShardReader(path)
    read_audit_set(reader)  # before models are opened
    names, size = reader.header.class_names, reader.shape[1]
    opened = []
    for spec in models:
        subject = open_subject(spec, classes=classes, size=size, device=device, model=model, method=method)
        opened.append((subject, match_classes(subject.class_names, names, mapping)))
    audits = []
    with progress_bars(quiet) as bars:
        watch = lambda rows, name: bars.track(rows, description=name)  # noqa: E731
        for subject, class_map in opened:
            audits.append(run_audit(reader, subject, class_map, maps=not no_maps, watch=watch))
    comparison = compared(audits)
    if html is not None:
        from clp_train.report.audit_page import write_audit_page

        write_audit_page(html, audits, reader, comparison)
    report(audits, comparison, reader, html, as_json)
    if max_gap is not None:
        check_gap(audits[-1], max_gap)


def check_arguments(models: Sequence[str], meta: Path | None, html: Path | None) -> Path:
    """Return the shard. Raises UsageError unless one model or two are named, and a shard; InputError for a page that
    cannot be written.
    """
    if not 1 <= len(models) <= MOST_MODELS:
        given = "none was given" if not models else f"{len(models)} were given"
        raise UsageError(f"expected one MODEL or two, {given}; clp-audit --help has the forms")
    if meta is None:
        raise UsageError("expected --meta SHARD; clp-augment --audit --dataset NAME makes one")
    if html is not None:
        if html.is_dir() or html.absolute() == meta.absolute():
            what = "it is a folder" if html.is_dir() else "it is the shard"
            raise UsageError(f"--html {html}: {what}; give the name of a new page")
        check_name(html)
        if not html.parent.is_dir():
            raise disk_error(html, FileNotFoundError(2, "No such file or directory"))
    return meta


def compared(audits: Sequence[Audit]) -> Comparison | None:
    """Return how two models differ on the classes that both have, None for one model."""
    if len(audits) < MOST_MODELS:
        return None
    from clp_train.auditing.figures import compare

    first, second = audits
    both = first.class_map.known & second.class_map.known
    return compare(first.audit_set, first.answers, second.answers, both)


def report(
    audits: Sequence[Audit], comparison: Comparison | None, reader: ShardReader, html: Path | None, as_json: bool
) -> None:
    """Print what was found on stdout, as JSON or as tables with the verdicts, what was written, and what to do next."""
    from clp_train.auditing.audit import as_json as plain
    from clp_train.auditing.audit import comparison_as_json

    if as_json:
        difference = None if comparison is None else comparison_as_json(comparison)
        page = None if html is None else str(html)
        of_shard = {"shard": str(reader.path), "dataset": reader.header.dataset, "page": page}
        click.echo(
            json.dumps({**of_shard, "models": [plain(each) for each in audits], "second_minus_first": difference})
        )
        return
    for each in audits:
        for remark in each.remarks:
            say(f"{each.subject_name}: {remark}", err=True)
    show(audits, comparison)
    if html is not None:
        say(f"wrote {html}")
    command = next_command(audits, reader)
    if command:
        say(f"next: {command}")


def show(audits: Sequence[Audit], comparison: Comparison | None) -> None:
    """Print the tables and, below, the verdict on each model with its evidence."""
    from clp_aug.common.consoles import PlainConsole
    from clp_train.report.audit_tables import class_table, figure_table, group_table, view_table

    console = PlainConsole()
    if not console.is_terminal:
        console = PlainConsole(width=140)  # a pipe has no width of its own
    tables = [view_table(audits), figure_table(audits, comparison), class_table(audits), group_table(audits)]
    for table in tables:
        if table is not None and table.row_count:
            console.print(table)
    for each in audits:
        say(f"{each.subject_name}: reliance on backgrounds: {each.verdict.word}")
        for sentence in each.verdict.evidence:
            say(f"  {sentence}")


def next_command(audits: Sequence[Audit], reader: ShardReader) -> str | None:
    """Return what to run if the last model relies on backgrounds, None if it does not.

    For one model: make a meta set of the audited data set and train on it; name masks and boxes in other folders again.
    After a comparison, where training may not have helped: ask the data whether it shows other backgrounds at all.
    """
    from clp_train.auditing.verdict import SOME, STRONG
    from clp_train.next_command import attributes_of, root_to_say

    if audits[-1].verdict.word not in (STRONG, SOME):
        return None
    header = reader.header
    name, size = header.dataset, str(reader.shape[1])
    root = root_to_say(name, None) or ("DIR" if name in NO_USUAL_PLACE else None)
    rooted = ["--root", str(root)] if root else []
    where = ["--dataset", name, *rooted, "--size", size]
    if attributes := attributes_of(header.settings):
        where += ["--attributes", ",".join(attributes)]
    if len(audits) > 1:
        return shlex.join(["clp-audit", "data", "--dataset", name, *rooted])
    augment = ["clp-augment", *where, "--cf", "tile", "--f", "mix-rand"]
    shard = f"shards/{name}-tile-mix-rand-seed0.h5"
    train = ["clp-train", "--meta", shard, *rooted, "--method", "clp", "--preset", "spurious-background"]
    return f"{shlex.join(augment)}; {shlex.join(train)}"


def check_gap(audit: Audit, most: float) -> None:
    """Raise GapTooLarge where a gap is above so many points, or where nobody can tell how large it is."""
    from clp_train.auditing.verdict import CANNOT_TELL
    from clp_train.auditing.words import in_points

    name, gap = audit.subject_name, audit.figures.gap
    if audit.verdict.word == CANNOT_TELL or gap.value is None:
        reason = audit.verdict.evidence[0].rstrip(".")
        raise GapTooLarge(f"model {name}: --max-gap {most:g} cannot be judged ({reason}); make another audit set")
    if 100 * gap.value > most:
        remedy = "train against it with clp-train --method clp, or allow more"
        raise GapTooLarge(f"model {name}: its background gap is {in_points(gap)}, above --max-gap {most:g}; {remedy}")
