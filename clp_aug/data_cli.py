"""clp-data: data sets made out of others. Parse, build the settings, call, print; heavy imports wait until they run."""

from __future__ import annotations

import json as json_module

import click

from clp_aug import __version__
from clp_aug.cli import NUMBERS, PATH, bar_for, quote
from clp_aug.common.terminal import one_line_errors, progress_bars

CONTEXT = {"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 110}


@click.group(context_settings=CONTEXT)
@click.version_option(__version__)
def data() -> None:
    """Make a data set with a known shift out of pictures that you have."""


@data.command("glt", context_settings=CONTEXT)
@click.option("--from", "source", required=True, help="Name of a data set, or a folder of class folders.")
@click.option("--root", type=PATH, help="Where it lies; else $CLP_DATA/<name>, else ./data/<name>.")
@click.option("--out", type=PATH, help="Folder to copy the pictures to.  [default: two files beside the pictures]")
@click.option("--imbalance", type=float, default=20, help="Largest to smallest class of the long-tailed training set.")
@click.option("--per-attribute", type=int, default=20, help="Most test pictures of each class and attribute.")
@click.option("--features", help="efficientnet-lite0 or thumbnail, to cluster by.  [default: the best at hand]")
@click.option("--seed", type=int, default=0, help="Seed of clusters, class order and every draw.")
@click.option("--overwrite", is_flag=True, help="Replace the files of a benchmark beside the pictures.")
@click.option("--json", is_flag=True, help="Print the counts as JSON on stdout.")
@click.option("--quiet", is_flag=True, help="No progress bars.")
@one_line_errors("nothing was written")
def glt(json: bool, quiet: bool, **options) -> None:
    """Make a generalised long tail, in classes and in attributes found by clustering: no published split.

    clp-data glt --from tiny_imagenet100
    """
    from clp_aug.making.glt import GltConfig, make

    config = GltConfig(**options)
    with progress_bars(quiet) as bars:
        outcome = make(config, lambda stage, total: bar_for(bars, stage, total))
    if json:
        click.echo(json_module.dumps({**vars(outcome), "path": str(outcome.path)}))
        return
    for kind, title in (("glt", "Train-GLT"), ("cbl", "Train-CBL")):
        counts = ", ".join(f"{split} {n:,}" for split, n in outcome.counts[kind].items() if n)
        click.echo(f"{title}  {counts}")
    click.echo(f"classes    {outcome.largest} to {outcome.smallest} pictures in Train-GLT, features {outcome.features}")
    click.echo(f"test_bbl   {outcome.per_attribute} pictures of each class and attribute")
    if outcome.short:
        click.echo(f"short      {outcome.short} pictures that the tail asked for and an attribute did not have")
    click.echo(
        f"{outcome.path}; next: clp-augment --dataset generated-glt --root {quote(outcome.path)} --cf tile --f random,"
        " and the same with generated-cbl for ALT"
    )


@data.command("waterbirds", context_settings=CONTEXT)
@click.option("--birds", required=True, type=PATH, help="Pictures of birds at any depth, or CUB_200_2011.")
@click.option("--land", required=True, multiple=True, type=PATH, help="Folder of land backgrounds; may be repeated.")
@click.option("--water", required=True, multiple=True, type=PATH, help="Folder of water backgrounds; may be repeated.")
@click.option("--out", required=True, type=PATH, help="Folder to make; it appears when it is complete.")
@click.option("--masks", type=PATH, help="Folder of PNG masks named as the birds; cut-outs bring their own.")
@click.option("--matte", help="For birds without a mask: hatt[:FILE], grabcut or onnx:FILE.")
@click.option("--classes", type=PATH, help="CSV of birds (file,class[,split]); else folders tell the class.")
@click.option("--confounding", type=float, default=0.95, help="Share of training birds before the place of their own.")
@click.option("--shares", type=NUMBERS, default=(4795, 1199, 5794), help="Relative sizes of train, val and test.")
@click.option("--per-bird", type=int, default=1, help="Pictures a bird; backgrounds are used in turn.")
@click.option("--size", type=int, help="Longer side of the pictures in pixels.  [default: of the bird's picture]")
@click.option("--seed", type=int, default=0, help="Seed of splits, places and backgrounds.")
@click.option("--max-left-out", type=float, default=0.5, help="Share of birds that may lack a usable mask.")
@click.option("--workers", type=int, help="Worker processes.  [default: one a core]")
@click.option("--json", is_flag=True, help="Print the counts as JSON on stdout.")
@click.option("--quiet", is_flag=True, help="No progress bars.")
@one_line_errors("nothing was written")
def waterbirds(workers: int | None, json: bool, quiet: bool, **options) -> None:
    """Put birds before land and water, with a spurious background in training, as in Waterbirds.

    clp-data waterbirds --birds CUB_200_2011 --masks segmentations --land places/forest --water places/ocean --out DIR
    """
    from clp_aug.engines import usable_cores
    from clp_aug.making.waterbirds import make
    from clp_aug.making.waterbirds_config import WaterbirdsConfig

    config = WaterbirdsConfig(workers=usable_cores() if workers is None else workers, **options)
    with progress_bars(quiet) as bars:
        outcome = make(config, lambda stage, total: bar_for(bars, stage, total))
    if json:
        click.echo(json_module.dumps({**vars(outcome), "path": str(outcome.path)}))
        return
    report_waterbirds(outcome)


def report_waterbirds(outcome) -> None:
    """Print counts, then the path written and the next command to run."""
    from clp_aug.datasets.base import SPLITS
    from clp_aug.datasets.waterbirds import GROUPS

    for split, counts in zip(SPLITS, outcome.groups, strict=True):
        click.echo(f"{split:<6} " + ", ".join(f"{n} {group}" for n, group in zip(counts, GROUPS, strict=True)))
    click.echo("masks  " + ", ".join(f"{n} {name}" for name, n in {**outcome.outcomes, **outcome.sources}.items()))
    if outcome.copies:
        click.echo(f"copies {outcome.copies} files left out that hold the bytes of another")
    smallest = min(outcome.groups[0])
    meta = "" if smallest > 10 else f" --meta {max(1, smallest // 2)}/group" if smallest else " --meta 10/class"
    root = quote(outcome.path)
    click.echo(f"{outcome.path}; next: clp-augment --dataset waterbirds --root {root} --cf tile --f random{meta}")
