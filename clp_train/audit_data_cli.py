"""clp-audit data: parse, open the shard, look at backgrounds, print, write the table. Heavy imports wait."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clp_aug.common.command import Tool
from clp_aug.common.completing import offered
from clp_aug.common.terminal import one_line_errors, progress_bars, say
from clp_aug.contract.errors import UsageError
from clp_aug.datasets import DATASETS, short_of
from clp_aug.nets.devices import AUTO, HELP, find_device

if TYPE_CHECKING:
    from clp_aug.common.progress import Bars
    from clp_train.auditing.data_advice import Advice
    from clp_train.auditing.data_audit import DataAudit

PATH = click.Path(path_type=Path)
FEWEST = "1/class"  # meta pictures of a shard of boxes: the audit takes them for training pictures
LISTED_CLASSES = 30  # more rows than that nobody reads; --json has them


@click.command("data", cls=Tool, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--meta", type=PATH, metavar="SHARD", help="Shard of clp-augment: boxes of the training pictures.")
@click.option("--dataset", metavar="NAME", help="Data set; without --meta, boxes are made first, in shards/.",
              shell_complete=offered(lambda: DATASETS))  # fmt: skip
@click.option("--root", type=PATH, help="Folder of the data set.  [default: $CLP_DATA/NAME, else ./data/NAME]")
@click.option("--model", metavar="NAME", help="Network whose features are taken, as of clp-train, or thumbnail."
              "  [default: efficientnet-lite0 where its weights are installed, else thumbnail]")  # fmt: skip
@click.option("--out", type=PATH, default=Path("groups.csv"), show_default=True,
              help="Table to write, with the guessed groups, for --dataset table.")  # fmt: skip
@click.option(
    "--html",
    type=PATH,
    metavar="PAGE",
    help="Write a page, too, with the pictures whose background argues against their label.",
)
@click.option("--device", default=AUTO, show_default=True, help=HELP)
@click.option("--quiet", is_flag=True, help="Show no progress.")
@click.option("--json", "as_json", is_flag=True, help="Print figures as JSON in place of tables.")
@one_line_errors("no table was written")
def data(
    meta: Path | None,
    dataset: str | None,
    root: Path | None,
    model: str | None,
    out: Path,
    html: Path | None,
    device: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Say how well the backgrounds of a data set predict its labels; no trained model is needed.

    Pictures are judged without their objects by a classifier that has not seen them. Where backgrounds say something,
    each class is divided by what its backgrounds look like: a guess at groups, for group methods, meta sets and the
    worst group, written as a table that --dataset table reads.

    clp-audit data --dataset demo
    """
    if meta is None and dataset is None:
        raise UsageError("expected --meta SHARD, any shard of clp-augment, or --dataset NAME")
    from clp_aug.common.memory import keep_freed_memory
    from clp_aug.contract.shards import ShardReader
    from clp_aug.library import find_boxes
    from clp_train.auditing.data_advice import advice_of
    from clp_train.auditing.data_audit import as_json as plain
    from clp_train.auditing.data_audit import audit_data
    from clp_train.auditing.data_features import open_eyes
    from clp_train.auditing.data_table import check_out, write_groups

    check_out(out)
    keep_freed_memory()
    place = str(find_device(device))
    with progress_bars(quiet) as bars:
        shard = ShardReader(boxes_shard(str(dataset), root, place, bars) if meta is None else meta)
        eyes = open_eyes(model, shard.shape[1], place)
        watch = lambda rows, name: bars.track(rows, description=name)  # noqa: E731
        found = audit_data(shard, eyes, root, dataset, find_boxes=find_boxes, device=place, watch=watch)
    written = write_groups(out, found.boxes, found.rows, found.guess)
    advice = advice_of(found, out, root, dataset or shard.header.dataset)
    if html is not None:
        from clp_train.report.data_page import write_data_page

        write_data_page(found, advice, html)
    if as_json:
        next_steps = {"reason": advice.reason, "meta": advice.protocol, "next": list(advice.commands)}
        click.echo(json.dumps({**plain(found), "out": str(out), "boxes_written": written, **next_steps}))
        return
    show(found, advice)
    say(f"wrote {out}: {len(found.rows):,} pictures, {written:,} boxes")
    if html is not None:
        say(f"{html}; open it in a browser")
    for line in advice.commands:
        say(f"next: {line}")


def boxes_shard(dataset: str, root: Path | None, device: str, bars: Bars) -> Path:
    """Return the shard of boxes alone of a data set, made now unless it is there. Raises what clp-augment raises."""
    path = Path("shards") / f"{short_of(dataset)}-boxes-seed0.h5"
    if not path.exists():
        from clp_aug.library import write_boxes

        @contextmanager
        def progress(title: str, total: int) -> Iterator[Callable[[int], None]]:
            task = bars.add_task(title, total=total)
            yield lambda done: bars.advance(task, done)

        write_boxes(dataset, root, path, meta=FEWEST, device=device, progress=progress)
    return path


def show(found: DataAudit, advice: Advice) -> None:
    """Print the verdict, the classes, what argues against its label, and the guessed groups, on stdout."""
    from clp_aug.common.consoles import PlainConsole

    for remark in found.remarks:
        say(remark, err=True)
    say(f"do backgrounds predict the label? {found.verdict.word}")
    for line in found.verdict.evidence:
        say(f"  {line}")
    console = PlainConsole()
    if not console.is_terminal:
        console = PlainConsole(width=120)  # a pipe has no width of its own
    console.print(class_table(found))
    for line in named_lines(found):
        say(line)
    say(advice.reason)


def class_table(found: DataAudit) -> Any:
    """Lay out the classes: pictures, how many of them their background tells, and the guessed groups."""
    from rich.table import Table

    from clp_train.auditing.data_groups import NO_GROUPS
    from clp_train.auditing.words import in_percent
    from clp_train.report.table import shown

    guess, figures = found.guess, found.figures
    is_guessed = guess.made_of != NO_GROUPS
    caption = f"groups are {guess.made_of}" if is_guessed else "no groups are guessed: one a class"
    more = f"; {len(found.class_names)} classes, the first {LISTED_CLASSES}: --json has all"
    caption += more if len(found.class_names) > LISTED_CLASSES else ""
    table = Table(title="training pictures", caption=shown(caption, "table.caption"), caption_justify="left")
    for name in ("class", "pictures", "predicted from the background", "contradicted"):
        table.add_column(name, justify="left" if name == "class" else "right")
    for value in guess.values if is_guessed else ():
        table.add_column(shown(f"background {value}"), justify="right")
    against = [int((found.label[found.against] == c).sum()) for c in range(len(found.class_names))]
    for c, name in list(enumerate(found.class_names))[:LISTED_CLASSES]:
        groups = map(str, found.group_counts[c].tolist()) if is_guessed else ()
        table.add_row(shown(name), f"{figures.counts[c]:,}", in_percent(figures.recall[c]), f"{against[c]:,}", *groups)
    return table


def named_lines(found: DataAudit) -> list[str]:
    """Return the pictures whose background argues most strongly against their label, a line each."""
    from clp_train.auditing.data_audit import LISTED

    first = found.against[:LISTED].tolist()
    if not found.is_telling:
        return ["no minority is named: backgrounds do not say enough for that"]
    if not first:
        return ["no background argues against its label"]
    names = found.class_names
    return ["backgrounds that argue most strongly against the label, candidates for a minority:", *(
        f"  {found.name(i)}: {names[found.label[i]]}, looks like {names[found.likeness[i]]} ({found.own[i]:+.2f} nats)"
        for i in first
    )]  # fmt: skip
