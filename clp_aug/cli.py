"""clp-augment: parse, build the settings, call, print. Heavy imports wait until it runs."""

from __future__ import annotations

import json as json_module
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from clp_aug import __version__
from clp_aug.auditing.settings import AUTO, AuditSettings
from clp_aug.common.command import MAIN, Tool
from clp_aug.common.completing import offered, pairs
from clp_aug.common.options import CONTEXT, Command, options_of
from clp_aug.common.plugins import FORM
from clp_aug.common.settings import about, fields_of
from clp_aug.common.terminal import bar_for, one_line_errors, progress_bars, quote, say
from clp_aug.config import MOST_WORKERS, AugmentConfig
from clp_aug.contract.schema import AUDIT
from clp_aug.datasets import DATASETS
from clp_aug.datasets.annotation_settings import AnnotationSettings
from clp_aug.fills import CF, FILLS, F, option_classes, options_of_texts
from clp_aug.mattes import MATTES

if TYPE_CHECKING:
    from clp_aug.pipeline import Outcome
    from clp_aug.planning import Plan

BEFORE_FILLS = (
    "root", "attributes", "cf", "f", "ratio", "meta", "meta_from", "keep_meta_in_train", "imbalance", "img_max",
    "noise", "noise_seed", "limit", "matte", *fields_of(AnnotationSettings), "pad", "refine", "max_fallback", "size",
    "fit", "skip_broken",
)  # fmt: skip
SPLITS = ("train", "val", "test")
OR_OWN = f"; or a plug-in, {FORM}, as for fills, matte and engine."
OF_AUDITS = tuple(name for name in fields_of(AuditSettings) if name != AUDIT)
FILL_SETTINGS = tuple(name for kind in option_classes().values() for name in fields_of(kind))


OFFERS = {
    "cf": offered(lambda: names_of_fills(CF), commas=True),
    "f": offered(lambda: names_of_fills(F), commas=True),
    "matte": offered(lambda: MATTES),
}
GROUPS = {
    MAIN: ("dataset", "root", "cf", "f", "ratio", "meta", "matte", "size", "out", "seed", "workers", "resume"),
    "Data and protocol": (
        "attributes", "meta_from", "keep_meta_in_train", "imbalance", "img_max", "noise", "noise_seed", "limit", "fit",
        "skip_broken",
    ),
    "Boxes and mattes": (*fields_of(AnnotationSettings), "pad", "refine", "max_fallback"),
    "Fills": (*FILL_SETTINGS, "texts"),
    "Audit": (AUDIT, *OF_AUDITS),
    "Run": ("device", "engine", "address", "overwrite", "dry_run"),
    "Output and help": ("json", "quiet", "version", "help"),
}  # fmt: skip
"""Heading -> the options below it."""


def names_of_fills(kind: int) -> dict[str, str]:
    """Return the fills that serve a kind, with what each is."""
    return {name: fill.summary for name, fill in FILLS.items() if kind in fill.kinds}


def fill_settings_known(ctx: click.Context) -> dict[str, tuple[str, Iterable[str]]]:
    """Return the settings of fills, with what each is and its values."""
    return {
        name: (about(field).help, tuple(about(field).choices))
        for kind in option_classes().values()
        for name, field in fields_of(kind).items()
    }


def fill_settings(command: Command) -> Command:
    """Give a command the options of the fills' own settings, in the order of the registry."""
    for kind in reversed(option_classes().values()):
        command = options_of(kind, *fields_of(kind))(command)
    return command


@click.command(cls=Tool, groups=GROUPS, context_settings=CONTEXT)
@click.option(
    "--dataset",
    required=True,
    metavar="NAME",
    help=f"Data set to READ: {', '.join(DATASETS)}{OR_OWN}",
    shell_complete=offered(lambda: DATASETS),
)
@click.option(
    "--audit",
    is_flag=False,
    flag_value=AUTO,
    metavar="SPLIT",
    help="Make a shard for clp-audit.  [default: test]",
    shell_complete=offered(lambda: SPLITS),
)
@options_of(AugmentConfig, *BEFORE_FILLS, offers=OFFERS)
@options_of(AugmentConfig, *OF_AUDITS)
@fill_settings
@click.option("--set", "texts", multiple=True, metavar="KEY=VALUE", help="A setting of a fill that is a plug-in.",
              shell_complete=pairs(fill_settings_known))  # fmt: skip
@options_of(AugmentConfig, "seed", "out")
@click.option("--workers", type=int, help="Worker processes; all share one accelerator.  [default: one per core]")
@options_of(AugmentConfig, "engine", "address", "device", "resume", "overwrite")
@click.option("--dry-run", is_flag=True, help="Print what would be done; write nothing.")
@click.option("--json", is_flag=True, help="Print the result as JSON on stdout.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@click.version_option(__version__)
@one_line_errors("finished blocks are kept, continue with --resume")
def augment(dry_run: bool, json: bool, quiet: bool, workers: int | None, texts: Sequence[str], **settings: Any) -> None:
    """Make a meta shard: READ -> MATTE -> BOX -> INFILL -> SHARD.

    clp-augment --dataset demo --cf tile --f random
    """
    from clp_aug import pipeline, planning
    from clp_aug.engines import usable_cores

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
    """Print counts, then the path that was written and the next command."""
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
