"""clp-data: make data sets from others. Parse, build the settings, call, print; heavy imports wait until they run."""

from __future__ import annotations

import json as json_module
from typing import TYPE_CHECKING, Any

import click

from clp_aug import __version__
from clp_aug.common.command import Tools
from clp_aug.common.options import CONTEXT, options_of
from clp_aug.common.terminal import bar_for, one_line_errors, progress_bars, quote, say
from clp_aug.making.glt_config import GltConfig
from clp_aug.making.waterbirds_config import WaterbirdsConfig

if TYPE_CHECKING:
    from clp_aug.making.waterbirds import Outcome


@click.group(cls=Tools, context_settings=CONTEXT)
@click.version_option(__version__)
def data() -> None:
    """Make a data set with a known shift from your pictures."""


@data.command("glt", context_settings=CONTEXT)
@click.option("--from", "source", required=True, help="Name of a data set, or a folder of class folders.")
@options_of(GltConfig)
@click.option("--json", is_flag=True, help="Print the counts as JSON on stdout.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@one_line_errors("nothing was written")
def glt(json: bool, quiet: bool, **settings: Any) -> None:
    """Make a generalised long tail, in classes and in attributes found by clustering: no published split.

    clp-data glt --from pictures
    """
    from clp_aug.making.glt import make

    config = GltConfig(**settings)
    with progress_bars(quiet) as bars:
        outcome = make(config, lambda stage, total: bar_for(bars, stage, total))
    if json:
        click.echo(json_module.dumps({**vars(outcome), "path": str(outcome.path)}))
        return
    for kind, title in (("glt", "Train-GLT"), ("cbl", "Train-CBL")):
        counts = ", ".join(f"{split} {n:,}" for split, n in outcome.counts[kind].items() if n)
        say(f"{title}  {counts}")
    say(f"classes    {outcome.largest} to {outcome.smallest} pictures in Train-GLT, features {outcome.features}")
    say(f"test_bbl   {outcome.per_attribute} pictures of each class and attribute")
    if outcome.short:
        say(f"short      {outcome.short} pictures that the tail asked for and an attribute did not have")
    say(
        f"{outcome.path}; next: clp-augment --dataset generated-glt --root {quote(outcome.path)} --cf tile --f random,"
        " and the same with generated-cbl for ALT"
    )


@data.command("waterbirds", context_settings=CONTEXT)
@options_of(WaterbirdsConfig)
@click.option("--workers", type=int, help="Worker processes.  [default: one per core]")
@click.option("--json", is_flag=True, help="Print the counts as JSON on stdout.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@one_line_errors("nothing was written")
def waterbirds(workers: int | None, json: bool, quiet: bool, **settings: Any) -> None:
    """Put birds before land and water, with a spurious background in training, as in Waterbirds.

    clp-data waterbirds --birds CUB_200_2011 --masks segmentations --land places/forest --water places/ocean --out DIR
    """
    from clp_aug.engines import usable_cores
    from clp_aug.making.waterbirds import make

    config = WaterbirdsConfig(workers=usable_cores() if workers is None else workers, **settings)
    with progress_bars(quiet) as bars:
        outcome = make(config, lambda stage, total: bar_for(bars, stage, total))
    if json:
        click.echo(json_module.dumps({**vars(outcome), "path": str(outcome.path)}))
        return
    report_waterbirds(outcome)


def report_waterbirds(outcome: Outcome) -> None:
    """Print counts, then the path that was written and the next command."""
    from clp_aug.datasets.base import SPLITS
    from clp_aug.datasets.waterbirds import GROUPS

    for split, counts in zip(SPLITS, outcome.groups, strict=True):
        say(f"{split:<6} " + ", ".join(f"{n} {group}" for n, group in zip(counts, GROUPS, strict=True)))
    say("masks  " + ", ".join(f"{n} {name}" for name, n in {**outcome.outcomes, **outcome.sources}.items()))
    if outcome.copies:
        say(f"copies {outcome.copies} files left out that hold the bytes of another")
    smallest = min(outcome.groups[0])
    meta = "" if smallest > 10 else f" --meta {max(1, smallest // 2)}/group" if smallest else " --meta 10/class"
    root = quote(outcome.path)
    say(f"{outcome.path}; next: clp-augment --dataset waterbirds --root {root} --cf tile --f random{meta}")
