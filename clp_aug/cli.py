"""clp-augment, clp-inspect, clp-fit: parse, build the settings, call, print. Heavy imports wait until they run."""

from __future__ import annotations

import json as json_module
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clp_aug import __version__
from clp_aug.auditing.settings import AUTO, AuditSettings
from clp_aug.common.options import PATH, Command, options_of
from clp_aug.common.plugins import FORM, is_code
from clp_aug.common.settings import fields_of
from clp_aug.common.terminal import one_line_errors, progress_bars, say
from clp_aug.config import MOST_WORKERS, AugmentConfig
from clp_aug.contract.schema import AUDIT, KINDS, ORIGINAL
from clp_aug.datasets import DATASETS, registered
from clp_aug.datasets.annotation_settings import AnnotationSettings
from clp_aug.engines import usable_cores
from clp_aug.fills import option_classes, options_of_texts
from clp_aug.fitting.config import Fit, InpainterFit, MatteFit

if TYPE_CHECKING:
    from clp_aug.common.progress import Bars
    from clp_aug.pipeline import Outcome
    from clp_aug.planning import Plan

CONTEXT = {"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 110}
BEFORE_FILLS = (
    "root", "attributes", "cf", "f", "ratio", "meta", "meta_from", "keep_meta_in_train", "imbalance", "img_max",
    "noise", "noise_seed", "limit", "matte", *fields_of(AnnotationSettings), "pad", "refine", "max_fallback", "size",
    "fit", "skip_broken",
)  # fmt: skip
OR_OWN = f"; or a plug-in, as it may be for fills, matte and engine, too: {FORM}."
OF_AUDITS = tuple(name for name in fields_of(AuditSettings) if name != AUDIT)
FILL_SETTINGS = tuple(name for kind in option_classes().values() for name in fields_of(kind))


def fill_settings(command: Command) -> Command:
    """Give a command the options of the fills' own settings, in the order of the registry."""
    for kind in reversed(option_classes().values()):
        command = options_of(kind, *fields_of(kind))(command)
    return command


@click.command(context_settings=CONTEXT)
@click.option("--dataset", required=True, metavar="NAME", help=f"Which data set to READ: {', '.join(DATASETS)}{OR_OWN}")
@click.option(
    "--audit", is_flag=False, flag_value=AUTO, metavar="SPLIT", help="Make a shard for clp-audit.  [default: test]"
)
@options_of(AugmentConfig, *BEFORE_FILLS)
@options_of(AugmentConfig, *OF_AUDITS)
@fill_settings
@click.option("--set", "texts", multiple=True, metavar="KEY=VALUE", help="A setting of a fill that is a plug-in.")
@options_of(AugmentConfig, "seed", "out")
@click.option("--workers", type=int, help="Worker processes; one accelerator serves all.  [default: one a core]")
@options_of(AugmentConfig, "engine", "address", "device", "resume", "overwrite")
@click.option("--dry-run", is_flag=True, help="Say what would be done; write nothing.")
@click.option("--json", is_flag=True, help="Print the result as JSON on stdout.")
@click.option("--quiet", is_flag=True, help="No progress bars.")
@click.version_option(__version__)
@one_line_errors("finished blocks are kept, go on with --resume")
def augment(dry_run: bool, json: bool, quiet: bool, workers: int | None, texts: Sequence[str], **settings: Any) -> None:
    """Make a meta shard: READ -> MATTE -> BOX -> INFILL -> SHARD.

    clp-augment --dataset demo --cf tile --f random
    """
    from clp_aug import pipeline, planning

    fill_options = {name: settings.pop(name) for name in FILL_SETTINGS}
    fill_options |= options_of_texts(texts, (*settings["cf"], *settings["f"]))
    cores = usable_cores() if settings["address"] is None else MOST_WORKERS  # a cluster's own number is the bound there
    config = AugmentConfig(workers=cores if workers is None else workers, options=fill_options, **settings)
    if dry_run:
        report_plan(planning.read(config), json)
        return
    for name, options in planning.options_in_use(config).items():
        if options.terms():
            say(f"{name} weights: {options.terms()}", err=True)
    with progress_bars(quiet) as bars:
        outcome = pipeline.augment(config, lambda stage, total: bar_for(bars, stage, total))
    report_outcome(outcome, json, config.audit is not None)


def quote(path: Path) -> str:
    """Return a path as a shell takes it."""
    return shlex.quote(str(path))


@contextmanager
def bar_for(bars: Bars, stage: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show one stage's bar; its value is called with the pictures done since the last call."""
    task = bars.add_task(stage, total=total)
    yield lambda done: bars.advance(task, done)


def report_plan(plan: Plan, as_json: bool) -> None:
    """Print what a run would do."""
    facts = {
        "shard": str(plan.config.shard_path()),
        "data set": plan.dataset.name,
        "pictures": {**plan.split.report, "size": plan.size},
        "rows": plan.rows,
        "megabytes": round(plan.rows * plan.size**2 * 3 / 1e6, 1),
        "matte": plan.chain[0].about.name,
    }
    facts |= {f"{use} on": device for use, device in plan.devices.in_words().items()}
    remarks = plan.remarks
    if as_json:
        click.echo(json_module.dumps({**facts, "remarks": remarks}))
        return
    for name, value in (*facts.items(), *(("remark", remark) for remark in remarks)):
        say(f"{name:<10} {value}")


def report_outcome(outcome: Outcome, as_json: bool, audit: bool) -> None:
    """Print counts, then the path written and the next command to run."""
    if as_json:
        facts = {**vars(outcome), "path": str(outcome.path)}
        click.echo(json_module.dumps(facts))
        return
    say("pictures   " + ", ".join(f"{count} {use}" for use, count in outcome.pictures.items()))
    for remark in outcome.remarks:
        say(f"           {remark}")
    say("boxes      " + ", ".join(f"{count} {name}" for name, count in outcome.outcomes.items()))
    for name, pictures in outcome.examples.items():
        if name in outcome.outcomes:
            say(f"           {name}: {some(pictures, outcome.outcomes[name])}")
    say("           " + ", ".join(f"{count} by {name}" for name, count in outcome.sources.items()))
    for use, device in outcome.devices.items():
        say(f"{use:<10} on {device}")
    if outcome.substituted:
        say(f"fills      {outcome.substituted} asked for had no background to take; they are grey:"
                   f" {some(outcome.examples['substituted'], outcome.substituted)}")  # fmt: skip
    path = quote(outcome.path)
    then = f"clp-audit MODEL --meta {path} --html audit.html" if audit else f"clp-inspect {path} --html sheet.html"
    say(f"{outcome.path}  ({outcome.rows} pictures); next: {then}")


def some(names: Sequence[str], count: int) -> str:
    """Return the names of some pictures as text, and that there are more."""
    return ", ".join(names) + (", ..." if count > len(names) else "")


@click.command(context_settings=CONTEXT)
@click.argument("shard", type=PATH)
@click.option("--html", type=PATH, help="Write one self-contained page of pictures to look at.")
@click.option("--rows", type=click.IntRange(1), default=200, help="Originals on the page, a sample over all classes.")
@click.option("--verify", is_flag=True, help="Read every picture and compare every checksum.")
@click.option("--json", is_flag=True, help="Print the summary as JSON.")
@click.version_option(__version__)
@one_line_errors("the shard is untouched")
def inspect(shard: Path, html: Path | None, rows: int, verify: bool, json: bool) -> None:
    """Show what a shard holds; the checks for untrusted files run first."""
    from clp_aug.contract.shards import ShardReader
    from clp_aug.inspecting.sheet import write_sheet
    from clp_aug.inspecting.summary import print_summary, summarise

    reader = ShardReader(shard)
    with progress_bars(quiet=not verify) as bars:
        summary = summarise(reader, verify, lambda stage, total: bar_for(bars, stage, total))
    shown = 0 if html is None else write_sheet(reader, html, rows)
    if json:
        click.echo(json_module.dumps(summary))
        return
    print_summary(summary)
    path = quote(shard)
    training, originals = next_of(path, summary), summary["kinds"].get(KINDS[ORIGINAL], 0)
    if html is not None:
        of = f" ({shown:,} of {originals:,} originals)" if shown < originals else ""
        say(f"{html}{of}; open it in a browser; next: {training}")
    else:
        say(f"next: clp-inspect {path} --html sheet.html, or {training}")


def next_of(path: str, summary: dict[str, Any]) -> str:
    """Return the command that a shard is made for."""
    if AUDIT in summary["settings"]:
        return f"clp-audit MODEL --meta {path}"
    name = summary["dataset"]
    if is_code(name, "data set"):
        return f"clp-train --meta {path} --dataset {quote(name)}"
    return f"clp-train --meta {path}" + (" --root DIR" if registered(name) in ("folder", "table", "wds") else "")


@click.group(context_settings=CONTEXT)
@click.version_option(__version__)
def fit() -> None:
    """Fit the networks that come with this package anew, on your own pictures."""


@contextmanager
def fit_bar(quiet: bool, steps: int) -> Iterator[Callable[[int, dict[str, float]], None]]:
    """Show one bar for a fit; its value is called with the steps done and the losses by name."""
    with progress_bars(quiet) as bar:
        task = bar.add_task("FIT", total=steps)

        def on_step(done: int, losses: dict[str, float]) -> None:
            text = ", ".join(f"{name} {value:.3f}" for name, value in losses.items())
            bar.update(task, completed=done, description=f"FIT {text}")

        yield on_step


@fit.command("matte", context_settings=CONTEXT)
@options_of(MatteFit)
@click.option("--resume", is_flag=True, help="Go on with a fit that was killed, bit by bit.")
@click.option("--quiet", is_flag=True, help="No progress.")
@one_line_errors("go on from the last checkpoint with --resume")
def fit_matte(resume: bool, quiet: bool, **settings: Any) -> None:
    """Fit the matting network on cut-outs and pictures with masks."""
    from clp_aug.fitting.matte import fit as fit_network
    from clp_aug.fitting.sources import read_sources

    run_fit(MatteFit(**settings), read_sources, fit_network, resume, quiet)


@fit.command("inpainter", context_settings=CONTEXT)
@options_of(InpainterFit)
@click.option("--resume", is_flag=True, help="Go on with a fit that was killed, bit by bit.")
@click.option("--quiet", is_flag=True, help="No progress.")
@one_line_errors("go on from the last checkpoint with --resume")
def fit_inpainter(resume: bool, quiet: bool, **settings: Any) -> None:
    """Fit the inpainting network on any pictures; holes are made on the fly."""
    from clp_aug.fitting.inpainter import fit as fit_network
    from clp_aug.fitting.pictures import read_pictures

    run_fit(InpainterFit(**settings), read_pictures, fit_network, resume, quiet)


def run_fit(
    config: Fit, read: Callable[[Path], Any], fit_network: Callable[..., Any], resume: bool, quiet: bool
) -> None:
    """Read the pictures of a fit, fit the network with a progress bar, and say where its weights and its curve are."""
    from clp_aug.common.memory import keep_freed_memory
    from clp_aug.fitting.loop import device_for, prepared, remark_on
    from clp_aug.nets.devices import CPU, describe

    keep_freed_memory()
    device = device_for(config)
    with prepared(config, resume):  # what would refuse the fit does so before pictures are read, which may take minutes
        remark = remark_on(config, device.type) if resume else ""
    if device.type != CPU:
        say(f"on {device} ({describe(device)}), {config.precision}", err=True)
    if remark:
        say(remark, err=True)
    with fit_bar(quiet, config.steps) as on_step:
        fit_network(config, read(config.data), on_step, resume)
    say(f"{config.out}; its curve on held-out pictures is {config.out.with_suffix('.jsonl')}")
