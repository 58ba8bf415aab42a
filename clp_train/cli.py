"""clp-train: parse, build a TrainConfig, run, print. Heavy imports wait until a run starts."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from clp_aug import __version__
from clp_aug.contract.terminal import one_line_errors, progress_bars
from clp_train.config import META_DELTAS, SALIENCY_TARGETS, TrainConfig, parse_settings
from clp_train.methods import METHODS
from clp_train.models import NAMES

PAGE = "page.html"


@click.command(context_settings={"show_default": True, "max_content_width": 110})
@click.version_option(__version__)
@click.option("--meta", required=True, type=click.Path(path_type=Path), help="Shard that clp-augment wrote.")
@click.option("--method", type=click.Choice(list(METHODS)), default=TrainConfig.method, help="How to train.")
@click.option(
    "--root", type=click.Path(path_type=Path), help="Folder of the data set; else $CLP_DATA/NAME, else ./data/NAME."
)
@click.option("--model", default=TrainConfig.model, help=f"Classifier: {', '.join(NAMES)}.")
@click.option("--epochs", type=int, default=TrainConfig.epochs, help="Passes over the training pictures.")
@click.option("--batch-size", type=int, default=TrainConfig.batch_size, help="Training pictures a step.")
@click.option("--meta-batch-size", type=int, help="Meta pictures a step; as --batch-size or all there are.")
@click.option("--lr", type=float, default=TrainConfig.lr, help="Step size; a tenth at 60 % and 80 % of the run.")
@click.option("--weight-decay", type=float, default=TrainConfig.weight_decay, help="Weight decay of the classifier.")
@click.option("--omega-lr", type=float, default=TrainConfig.omega_lr, help="Step size of the perturbation network.")
@click.option(
    "--meta-delta",
    type=click.Choice(META_DELTAS),
    default=TrainConfig.meta_delta,
    help="Perturb the meta logits too, as eq. (9) is written, or not.",
)
@click.option("--saliency-lambda", type=float, default=TrainConfig.saliency_lambda, help="Lambda of eq. (6); 0 = off.")
@click.option(
    "--saliency-target",
    type=click.Choice(SALIENCY_TARGETS),
    default=TrainConfig.saliency_target,
    help="What eq. (6) differentiates; probability is the paper's.",
)
@click.option(
    "--saliency-interval",
    type=int,
    default=TrainConfig.saliency_interval,
    help="Saliency of training pictures every so many steps.",
)
@click.option("--seed", type=int, default=TrainConfig.seed, help="Seed of the run.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run.  [default: runs/SHARD-METHOD-seedN]")
@click.option("--limit", type=int, help="At most so many training pictures, spread over groups.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any other setting, e.g. meta_step=lagged.")
@click.option("--resume", is_flag=True, help="Go on with a run that was killed, bit by bit.")
@click.option("--export", is_flag=True, help="Also write the classifier for clp-augment --f fgsm.")
@click.option("--quiet", is_flag=True, help="No progress.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON in place of the table.")
@one_line_errors("no result was written; go on from the last checkpoint with --resume")
def train(
    meta, method, root, model, epochs, batch_size, meta_batch_size, lr, weight_decay, omega_lr, meta_delta,
    saliency_lambda, saliency_target, saliency_interval, seed, out, limit, settings, resume, export, quiet, as_json,
):  # fmt: skip
    """Train a classifier on a shard and the data set it was made from; report accuracy a group."""
    named = {
        "meta": meta, "method": method, "root": root, "model": model, "epochs": epochs, "batch_size": batch_size,
        "meta_batch_size": meta_batch_size, "lr": lr, "weight_decay": weight_decay, "omega_lr": omega_lr,
        "meta_delta": meta_delta, "saliency_lambda": saliency_lambda, "saliency_target": saliency_target,
        "saliency_interval": saliency_interval, "seed": seed, "out": out, "limit": limit, "export": export,
    }  # fmt: skip
    config = TrainConfig(**named | parse_settings(settings))
    result = run(config, quiet, resume)
    if as_json:
        click.echo(json.dumps(result))
        return
    show(result)
    other = next(name for name in METHODS if name != config.method)
    if export:
        following = (
            f"clp-augment --dataset {result['dataset']} --f fgsm --classifier {config.folder / 'classifier.pt2'}"
        )
    else:
        following = f"clp-train --meta {meta} --method {other}" + (f" --root {root}" if root else "")
    click.echo(f"wrote {config.folder / PAGE} and the weights beside it; next: {following}")


def run(config: TrainConfig, quiet: bool, resume: bool = False) -> dict:
    """LOAD, train, EVALUATE and write the run's folder; return its result as plain JSON."""
    from clp_train import data, loop, memory, runs
    from clp_train.looking import look_at
    from clp_train.report.page import write_page

    memory.keep_freed_memory()
    runs.prepare(config.folder, resume)
    with progress_bars(quiet) as bar:
        loaded = data.load(config, lambda rows, name: bar.track(rows, description=f"LOAD {name}"))
    if not quiet:
        click.echo(describe(loaded), err=True)
    start = time.perf_counter()
    with progress_bars(quiet) as bar:
        steps = config.epochs * data.steps_per_epoch(len(loaded.train), config.batch_size)
        task = bar.add_task("TRAIN", total=steps)

        def on_step(epoch: int, losses: loop.StepLosses) -> None:
            meta = "" if losses.meta is None else f", meta {losses.meta:.3f}"
            bar.update(task, advance=1, description=f"TRAIN epoch {epoch}, loss {losses.train:.3f}{meta}")

        trained = loop.train(config, loaded, on_step, runs.checkpoint_of(config, loaded), resume)
    seconds = time.perf_counter() - start
    attention, looks = look_at(trained.network, loaded.meta)
    result = runs.result_of(config, loaded, trained, seconds, attention)
    runs.save(config.folder, result, trained, loaded.header.settings["size"], config.export)
    write_page(config.folder, config.folder / PAGE, looks)
    return result


def describe(loaded) -> str:
    """Say in one line what a run learns from and is measured on."""
    from clp_train.data import kind_counts

    kinds = ", ".join(f"{n} {kind}s" for kind, n in kind_counts(loaded.meta).items())
    splits = ", ".join(f"{name} {len(part)}" for name, part in loaded.evaluation.items())
    missing = "" if "val" in loaded.evaluation else "; no val split: nothing is selected, the last epoch counts"
    return f"{loaded.header.dataset}: train {len(loaded.train)}, {splits}; meta set: {kinds}{missing}"


def show(result: dict) -> None:
    """Print the table of a result on stdout."""
    from rich.console import Console

    from clp_train.report.table import accuracy_table

    console = Console()
    if not console.is_terminal:
        console = Console(width=120)  # a pipe has no width of its own
    console.print(accuracy_table(result))
