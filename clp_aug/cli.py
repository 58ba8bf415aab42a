"""clp-augment, clp-inspect, clp-fit: parse, build the settings, call, print. Heavy imports wait until they run."""

from __future__ import annotations

import json as json_module
import shlex
from contextlib import contextmanager
from pathlib import Path

import click

from clp_aug import __version__
from clp_aug.common.terminal import one_line_errors, progress_bars
from clp_aug.datasets import DATASETS
from clp_aug.fills import CF, FILLS, F
from clp_aug.fitting.config import InpainterFit, MatteFit
from clp_aug.mattes import MATTES, spelling

CONTEXT = {"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 110}
PATH = click.Path(path_type=Path)


class NameList(click.ParamType):
    """A comma list of names, as a tuple."""

    name = "names"

    def convert(self, value, param, ctx) -> tuple[str, ...]:
        """Split "grey,tile" into its names."""
        return value if isinstance(value, tuple) else tuple(part.strip() for part in value.split(",") if part.strip())


NAMES = NameList()


def _mattes() -> str:
    return ", ".join(map(spelling, MATTES))


def _fills(kind: int) -> str:
    return ", ".join(name for name, fill in FILLS.items() if kind in fill.kinds)


@click.command(context_settings=CONTEXT)
@click.option("--dataset", required=True, type=click.Choice(list(DATASETS)), help="Which data set to READ.")
@click.option("--root", type=PATH, help="Where it lies; else $CLP_DATA/<dataset>, else ./data/<dataset>.")
@click.option("--cf", type=NAMES, default=(), help=f"Counterfactual fills, mixed in equal shares: {_fills(CF)}.")
@click.option("--f", type=NAMES, default=(), help=f"Factual fills, mixed in equal shares: {_fills(F)}.")
@click.option("--ratio", type=int, default=2, help="Augmented pictures an original; counterfactual : factual = 1 : 1.")
@click.option("--meta", help="10/class, 10/group, 10/cluster or 1000/balanced.  [default: of the data set]")
@click.option("--meta-from", help="Split of the meta pictures: train or val.  [default: train; of GLT sets val]")
@click.option("--keep-meta-in-train", is_flag=True, help="Leave the meta pictures in the training set too.")
@click.option("--imbalance", type=float, help="Thin the training set to a long tail of this head-to-tail ratio.")
@click.option(
    "--img-max", default="rest", help="Largest class of the tail: of the rest after the meta set, of all, or a number."
)
@click.option("--noise", help="Label noise in training: uniform:P, flip:P or flip-similar:P.")
@click.option("--noise-seed", type=int, default=1, help="Seed of the label noise alone.")
@click.option("--limit", type=int, help="At most so many training pictures, spread over groups, for a quick look.")
@click.option("--matte", help=f"Source of boxes: {_mattes()}.  [default: given, else hatt]")
@click.option("--masks", type=PATH, help="Folder of PNG masks named as the pictures, for --matte given.")
@click.option("--boxes", type=PATH, help="CSV of boxes (file,x0,y0,x1,y1; half-open pixels), for --matte given.")
@click.option("--pad", type=int, default=0, help="Grow every box by so many pixels.")
@click.option("--refine", is_flag=True, help="Finer edges in the mattes kept for people; boxes do not change.")
@click.option("--max-fallback", type=float, default=0.5, help="Share of pictures that may need another matte.")
@click.option("--size", type=int, help="Side of the stored pictures in pixels.  [default: of the data, at most 224]")
@click.option("--fit", default="crop", help="How a picture becomes square: crop (centred) or stretch.")
@click.option("--classifier", type=PATH, help="Exported program (.pt2) that --f fgsm attacks.")
@click.option("--epsilon", type=float, default=0.5, help="Radius of fgsm, l_inf, in [0, 1] pixel units.")
@click.option("--fgsm", default="targeted", help="targeted (to a random other class) or untargeted.")
@click.option("--cagan-weights", type=PATH, help="Another network for --cf cagan: of clp-fit, or published.")
@click.option("--cagan-layout", default="own", help="Of published weights: own, or tf (converted from TensorFlow).")
@click.option("--lama-weights", type=PATH, help="LaMa's network as TorchScript, for --cf lama.")
@click.option("--seed", type=int, default=0, help="Seed of the meta selection, the plan and the fills.")
@click.option("--out", type=PATH, help="Shard to write.  [default: shards/<dataset>-<cf>-<f>-seed<k>.h5]")
@click.option("--workers", type=int, help="Worker processes.  [default: one a core]")
@click.option("--engine", help="serial or processes.  [default: by the number of workers]")
@click.option("--resume", is_flag=True, help="Go on with an unfinished run; finished blocks are not made again.")
@click.option("--overwrite", is_flag=True, help="Replace a finished shard, or start an unfinished run anew.")
@click.option("--dry-run", is_flag=True, help="Say what would be done; write nothing.")
@click.option("--json", is_flag=True, help="Print the result as JSON on stdout.")
@click.option("--quiet", is_flag=True, help="No progress bars.")
@click.version_option(__version__)
@one_line_errors("finished blocks are kept, go on with --resume")
def augment(dry_run: bool, json: bool, quiet: bool, workers: int | None, **options) -> None:
    """Make a meta shard: READ -> MATTE -> BOX -> INFILL -> SHARD.

    clp-augment --dataset demo --cf tile --f random
    """
    from clp_aug import pipeline
    from clp_aug.config import AugmentConfig
    from clp_aug.engines import usable_cores

    config = AugmentConfig(workers=usable_cores() if workers is None else workers, **options)
    if dry_run:
        report_plan(pipeline.read(config), json)
        return
    if "cagan" in config.cf:
        click.echo(f"cagan weights: {pipeline.terms_of(config.cagan_weights)}", err=True)
    with progress_bars(quiet) as bars:
        outcome = pipeline.augment(config, lambda stage, total: bar_for(bars, stage, total))
    report_outcome(outcome, json)


def quote(path: Path) -> str:
    """Return a path as a shell takes it."""
    return shlex.quote(str(path))


@contextmanager
def bar_for(bars, stage: str, total: int):
    """Show one stage's bar; its value is called with the pictures done since the last call."""
    task = bars.add_task(stage, total=total)
    yield lambda done: bars.advance(task, done)


def report_plan(plan, as_json: bool) -> None:
    """Print what a run would do."""
    facts = {
        "shard": str(plan.config.shard_path()),
        "data set": plan.dataset.name,
        "pictures": {**plan.split.report, "size": plan.config.size},
        "rows": plan.rows,
        "megabytes": round(plan.rows * plan.config.size**2 * 3 / 1e6, 1),
        "matte": plan.chain[0].about.name,
    }
    from clp_aug.remarks import remarks_of

    remarks = remarks_of(plan.dataset, plan.split, plan.config)
    if as_json:
        click.echo(json_module.dumps({**facts, "remarks": remarks}))
        return
    for name, value in (*facts.items(), *(("remark", remark) for remark in remarks)):
        click.echo(f"{name:<10} {value}")


def report_outcome(outcome, as_json: bool) -> None:
    """Print counts, then the path written and the next command to run."""
    if as_json:
        facts = {**vars(outcome), "path": str(outcome.path)}
        click.echo(json_module.dumps(facts))
        return
    click.echo("pictures   " + ", ".join(f"{count} {use}" for use, count in outcome.pictures.items()))
    for remark in outcome.remarks:
        click.echo(f"           {remark}")
    click.echo("boxes      " + ", ".join(f"{count} {name}" for name, count in outcome.outcomes.items()))
    click.echo("           " + ", ".join(f"{count} by {name}" for name, count in outcome.sources.items()))
    if outcome.substituted:
        click.echo(f"fills      {outcome.substituted} asked for had no background to take; they are grey")
    click.echo(f"{outcome.path}  ({outcome.rows} pictures); next: clp-inspect {quote(outcome.path)} --html sheet.html")


@click.command(context_settings=CONTEXT)
@click.argument("shard", type=PATH)
@click.option("--html", type=PATH, help="Write one self-contained page of pictures to look at.")
@click.option("--rows", type=click.IntRange(1), default=200, help="Originals on the page, spread over classes.")
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
    summary = summarise(reader, verify)
    if html is not None:
        write_sheet(reader, html, rows)
    if json:
        click.echo(json_module.dumps(summary))
        return
    print_summary(summary)
    path = quote(shard)
    training = f"clp-train --meta {path}" + (" --root DIR" if summary["dataset"] == "folder" else "")
    if html is not None:
        click.echo(f"{html}; open it in a browser; next: {training}")
    else:
        click.echo(f"next: clp-inspect {path} --html sheet.html, or {training}")


@click.group(context_settings=CONTEXT)
@click.version_option(__version__)
def fit() -> None:
    """Fit the networks that come with this package anew, on your own pictures."""


@contextmanager
def fit_bar(quiet: bool, steps: int):
    """Show one bar for a fit; its value is called with the steps done and the losses by name."""
    with progress_bars(quiet) as bar:
        task = bar.add_task("FIT", total=steps)

        def on_step(done: int, losses: dict[str, float]) -> None:
            shown = ", ".join(f"{name} {value:.3f}" for name, value in losses.items())
            bar.update(task, completed=done, description=f"FIT {shown}")

        yield on_step


class NumberList(click.ParamType):
    """A comma list of whole numbers, as a tuple."""

    name = "numbers"

    def convert(self, value, param, ctx) -> tuple[int, ...]:
        """Split "32,64" into its numbers."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(int(part) for part in value.split(","))
        except ValueError:
            self.fail(f"{value!r}: expected whole numbers with commas between them, 32,64 for instance", param, ctx)


NUMBERS = NumberList()


@fit.command("matte", context_settings=CONTEXT)
@click.option("--data", required=True, type=PATH, help="Folder with foregrounds/, backgrounds/, pictures/ and masks/.")
@click.option("--out", required=True, type=PATH, help="Weights to write (.safetensors); state and curve lie beside.")
@click.option("--steps", type=int, default=MatteFit.steps, help="Steps of --batch-size pairs.")
@click.option("--batch-size", type=int, default=MatteFit.batch_size, help="Pairs a step.")
@click.option("--sizes", type=NUMBERS, default=MatteFit.sizes, help="Sides of pairs in pixels, one a step.")
@click.option("--lr", type=float, default=MatteFit.lr, help="Step size of the head.")
@click.option("--backbone-lr", type=float, default=MatteFit.backbone_lr, help="Step size of the pretrained part.")
@click.option("--adversarial", type=float, default=MatteFit.adversarial, help="Weight of the adversarial loss.")
@click.option("--start", default=MatteFit.start, help="imagenet, nothing, shipped (our weights), or a file of weights.")
@click.option("--seed", type=int, default=MatteFit.seed, help="Seed of the start and of every pair.")
@click.option("--resume", is_flag=True, help="Go on with a fit that was killed, bit by bit.")
@click.option("--quiet", is_flag=True, help="No progress.")
@one_line_errors("go on from the last checkpoint with --resume")
def fit_matte(resume: bool, quiet: bool, **settings) -> None:
    """Fit the matting network on cut-outs and pictures with masks."""
    from clp_aug.common.memory import keep_freed_memory
    from clp_aug.fitting.matte import fit as fit_network
    from clp_aug.fitting.sources import read_sources

    keep_freed_memory()
    config = MatteFit(**settings)
    with fit_bar(quiet, config.steps) as on_step:
        fit_network(config, read_sources(config.data), on_step, resume)
    click.echo(f"{config.out}; its curve on held-out pictures is {config.out.with_suffix('.jsonl')}")


@fit.command("inpainter", context_settings=CONTEXT)
@click.option("--data", required=True, type=PATH, help="Folder with pictures, at any depth.")
@click.option("--out", required=True, type=PATH, help="Weights to write (.safetensors); state and curve lie beside.")
@click.option("--steps", type=int, default=InpainterFit.steps, help="Steps of --batch-size pictures.")
@click.option("--batch-size", type=int, default=InpainterFit.batch_size, help="Pictures a step, of 64 x 64 pixels.")
@click.option("--sizes", type=NUMBERS, default=InpainterFit.sizes, help="Sides of pictures in pixels, one a step.")
@click.option("--width", type=int, default=InpainterFit.width, help="Planes of the first layer; published: 32.")
@click.option("--dilations", type=NUMBERS, default=InpainterFit.dilations, help="Rates of the dilated layers.")
@click.option("--lr", type=float, default=InpainterFit.lr, help="Step size.")
@click.option("--ssim", type=float, default=InpainterFit.ssim, help="Weight of 1 - SSIM in the hole.")
@click.option("--gamma", type=float, default=InpainterFit.gamma, help="Discount a pixel, in a hole of 128 pixels.")
@click.option("--adversarial", type=float, default=InpainterFit.adversarial, help="Weight of the critics' verdict.")
@click.option("--seed", type=int, default=InpainterFit.seed, help="Seed of the start and of every window.")
@click.option("--resume", is_flag=True, help="Go on with a fit that was killed, bit by bit.")
@click.option("--quiet", is_flag=True, help="No progress.")
@one_line_errors("go on from the last checkpoint with --resume")
def fit_inpainter(resume: bool, quiet: bool, **settings) -> None:
    """Fit the inpainting network on any pictures; holes are made on the fly."""
    from clp_aug.common.memory import keep_freed_memory
    from clp_aug.fitting.inpainter import fit as fit_network
    from clp_aug.fitting.pictures import read_pictures

    keep_freed_memory()
    config = InpainterFit(**settings)
    with fit_bar(quiet, config.steps) as on_step:
        fit_network(config, read_pictures(config.data), on_step, resume)
    click.echo(f"{config.out}; its curve on held-out pictures is {config.out.with_suffix('.jsonl')}")
