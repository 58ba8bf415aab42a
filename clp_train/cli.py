"""clp-train: parse, build a TrainConfig, run, print. Heavy imports wait until a run starts."""

from __future__ import annotations

import json
from pathlib import Path

import click

from clp_aug import __version__
from clp_aug.common.terminal import one_line_errors, progress_bars
from clp_train.config import SALIENCY_TARGETS, TrainConfig, make_config, named_method
from clp_train.following import attacked_shard, other_method
from clp_train.models import NAMES
from clp_train.presets import names, read_method, read_preset

PAGE = "page.html"


def setting(name: str, help: str, type=str):
    """Declare the option of a setting: None unless it is given; its default, the dataclass's, is shown in the help."""
    default = getattr(TrainConfig, name, None)
    shown = f"  [default: {default}]" if default is not None else ""
    return click.option("--" + name.replace("_", "-"), type=type, help=f"{help}{shown}")


def listed(names) -> str:
    """Return names as text."""
    return ", ".join(names)


FILE = click.Path(path_type=Path)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__)
@setting("meta", "Shard that clp-augment wrote.  [required]", FILE)
@setting("method", "How to train: a name of --list-methods.")
@click.option("--preset", metavar="NAME", help=f"Settings to start from: {listed(names())}, or a .toml file.")
@setting("root", "Folder of the data set; else $CLP_DATA/NAME, else ./data/NAME.", FILE)
@setting("model", f"Classifier: {listed(NAMES)}.")
@setting("epochs", "Passes over the training pictures.", int)
@setting("batch_size", "Training pictures a step.", int)
@setting("meta_batch_size", "Meta pictures a step; as --batch-size or all there are.", int)
@setting("lr", "Step size of the classifier.", float)
@setting("schedule", "Of the step size: steps (a tenth at 60 % and 80 % of the run), constant or cosine.")
@setting("weight_decay", "Weight decay of the classifier.", float)
@setting("omega_lr", "Step size of the perturbation network.", float)
@setting("meta_delta", "Perturb the meta logits too, as eq. (9) is written: paper, or none.")
@setting("saliency_lambda", "Lambda of eq. (6); 0 = off.", float)
@setting("saliency_target", f"What eq. (6) differentiates: {listed(SALIENCY_TARGETS)}.")
@setting("saliency_interval", "Saliency every so many steps.", int)
@setting("seed", "Seed of the run.", int)
@setting("out", "Folder of the run.  [default: runs/SHARD-METHOD-seedN]", FILE)
@setting("cache", "Folder for decoded pictures and features of a frozen body: quick starts.  [default: memory]", FILE)
@setting("limit", "At most so many training pictures, spread over groups.", int)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any other setting, e.g. meta_step=lagged.")
@click.option("--resume", is_flag=True, help="Go on with a run that was killed, bit by bit.")
@click.option("--export", is_flag=True, help="Also write the classifier for clp-augment --f fgsm.")
@click.option("--list-methods", is_flag=True, help="Print every method with what it needs and costs; train nothing.")
@click.option("--markdown", is_flag=True, help="With --list-methods: as the page of the docs.")
@click.option("--quiet", is_flag=True, help="No progress.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON in place of the table.")
@one_line_errors("no result was written; --resume goes on from the last checkpoint, if the run had come to one")
def train(preset, settings, resume, export, list_methods, markdown, quiet, as_json, **named):
    """Train a classifier on a shard and the data set it was made from; report accuracy a group.

    clp-train --meta shards/demo-tile-random-seed0.h5 --method clp
    """
    if list_methods:
        from clp_train.methods.listing import methods_table

        click.echo(methods_table(markdown))
        return
    given = {name: value for name, value in named.items() if value is not None} | ({"export": True} if export else {})
    layers = [given]
    if preset:
        base = read_preset(preset)
        layers = [base, read_method(preset, named_method(base, given, texts=settings)), given]
    config = make_config(*layers, texts=settings)
    result = run(config, quiet, resume)
    if as_json:
        click.echo(json.dumps(result))
        return
    show(result)
    if config.export:
        classifier = config.folder / "classifier.pt2"
        following = attacked_shard(result["shard_settings"], result["dataset"], config.root, classifier)
    else:
        following = other_method(given | {"meta": config.meta}, preset, settings, config.method)
    click.echo(f"wrote {config.folder / PAGE} and the weights beside it; next: {following}")


def run(config: TrainConfig, quiet: bool, resume: bool = False) -> dict:
    """LOAD, train, EVALUATE and write the run's folder; return its result as plain JSON."""
    from clp_aug.common import memory
    from clp_train import data, loop, runs
    from clp_train.looking import look_at
    from clp_train.report.page import write_page

    memory.keep_freed_memory()
    with runs.folder_for(config.folder, resume), progress_bars(quiet) as bar:
        loaded = data.load(config, lambda rows, name: bar.track(rows, description=f"LOAD {name}"))
    if not quiet:
        click.echo(describe(loaded), err=True)
    with progress_bars(quiet) as bar:
        task = bar.add_task("TRAIN", total=None)

        def on_step(done: loop.Done) -> None:
            meta = "" if done.losses.meta is None else f", meta {done.losses.meta:.3f}"
            shown = f"TRAIN epoch {done.epoch}, loss {done.losses.train:.3f}{meta}"
            bar.update(task, completed=done.step, total=done.steps, description=shown)

        board = runs.board_of(config.folder)

        def on_epoch(history: list[dict]) -> None:
            runs.write_metrics(config.folder, history)
            if board is not None:
                runs.show_on(board, history[-1])

        checkpoint = runs.checkpoint_of(config, loaded)
        trained = loop.train(
            config, loaded, on_step, on_epoch, checkpoint, resume, lambda rows, name: bar.track(rows, description=name)
        )
    attention, looks = look_at(trained.network, loaded.meta)
    result = runs.result_of(config, loaded, trained, attention)
    runs.save(config.folder, result, trained, loaded.header.settings["size"], config.export)
    write_page(config.folder, config.folder / PAGE, looks)
    return result


def describe(loaded) -> str:
    """Say in one line what a run learns from and is measured on."""
    from clp_train.batches import kind_counts

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
