"""clp-train: parse, build a TrainConfig, run, print. Heavy imports wait until a run starts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clp_aug import __version__
from clp_aug.common.settings import about, type_of
from clp_aug.common.terminal import one_line_errors, progress_bars
from clp_train.config import (
    TrainConfig,
    make_config,
    named_method,
    option_names,
    owner_of,
    spelt_as_options,
)
from clp_train.list_settings import default_of, range_of, settings_text
from clp_train.next_command import attacked_shard, other_method
from clp_train.presets import check_shard, names, read_method, read_preset

if TYPE_CHECKING:
    from clp_train.loading.data import RunData

PAGE = "page.html"
TYPES = {int: int, float: float, str: str, Path: click.Path(path_type=Path)}
Command = Callable[..., None]


def setting_options(command: Command) -> Command:
    """Declare an option for each setting that has one: None unless it is given; its default stands in the help."""
    order = dict.fromkeys(["meta", "method", "preset", *option_names()])
    for name in reversed(order):
        field = option_names()[name]
        declaration = about(field)
        kind, _ = type_of(owner_of(name), name)
        flag = "--" + name.replace("_", "-")
        if kind is bool:
            command = click.option(flag, is_flag=True, default=None, help=declaration.help)(command)
            continue
        default = "required" if field.default is MISSING else f"default: {default_of(field)}"
        help = f"{declaration.help} {range_of(owner_of(name), field)}" if declaration.choices else declaration.help
        help = f"{help}  [{default}]"
        if name == "preset":
            help = f"Settings to start from: {', '.join(names())}, or a .toml file."
        command = click.option(flag, type=TYPES[kind], metavar=declaration.metavar or None, help=help)(command)
    return command


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__)
@setting_options
@click.option(
    "--set",
    "texts",
    multiple=True,
    metavar="KEY=VALUE",
    help="Any setting, e.g. meta_step=lagged; --list-settings lists them.",
)
@click.option("--resume", is_flag=True, help="Go on with a run that was killed, bit by bit.")
@click.option("--list-methods", is_flag=True, help="Print every method with what it needs and costs; train nothing.")
@click.option(
    "--list-settings",
    is_flag=False,
    flag_value="",
    metavar="[METHOD]",
    help="Print every setting, or those of a method; train nothing.",
)
@click.option("--markdown", is_flag=True, help="With --list-methods or --list-settings: as the page of the docs.")
@click.option("--quiet", is_flag=True, help="No progress.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON in place of the table.")
@one_line_errors("no result was written; --resume goes on from the last checkpoint, if the run had come to one")
def train(
    texts: Sequence[str],
    resume: bool,
    list_methods: bool,
    list_settings: str | None,
    markdown: bool,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Train a classifier on a shard and the data set it was made from; report accuracy a group.

    clp-train --meta shards/demo-tile-random-seed0.h5 --method clp
    """
    if list_methods or list_settings is not None:
        show_list(list_methods, list_settings or options["method"], markdown)
        return
    values = {name: value for name, value in options.items() if value is not None}
    with spelt_as_options():
        config = config_of(values, texts)
        result = run(config, quiet, resume)
    if as_json:
        click.echo(json.dumps(result))
        return
    show(result)
    command = suggest_command(config, result, values, texts)
    click.echo(f"wrote {config.folder / PAGE} and the weights beside it; next: {command}")


def show_list(methods: bool, method: str | None, markdown: bool) -> None:
    """Print the table of methods, or the list of settings."""
    from clp_train.methods.listing import methods_table

    click.echo(methods_table(markdown) if methods else settings_text(method, markdown))


def config_of(values: Mapping[str, Any], texts: Sequence[str]) -> TrainConfig:
    """Return the settings of the command line, on top of its preset. Raises what `make_config` raises."""
    name = values.get("preset")
    if name is None:
        return make_config(values, texts)
    preset = read_preset(name)
    return make_config(values, texts, preset, read_method(name, named_method(preset, values, texts=texts)))


def suggest_command(
    config: TrainConfig, result: Mapping[str, Any], values: Mapping[str, Any], texts: Sequence[str]
) -> str:
    """Return the command to run next."""
    if config.run.export:
        classifier = config.folder / "classifier.pt2"
        return attacked_shard(result["shard_settings"], result["dataset"], config.data.root, classifier)
    return other_method(values, texts, config.data.meta, config.method)


def run(config: TrainConfig, quiet: bool, resume: bool = False) -> dict[str, Any]:
    """LOAD, train, EVALUATE and write the run's folder; return its result as plain JSON."""
    from clp_aug.common import memory
    from clp_aug.contract.shards import ShardReader
    from clp_train import run_folder
    from clp_train.evaluating.attention import look_at
    from clp_train.loading.data import load
    from clp_train.report.page import write_page
    from clp_train.result import result_of
    from clp_train.running import loop
    from clp_train.running.assembly import assemble, check_meta_batch

    memory.keep_freed_memory()
    with run_folder.folder_for(config.folder, resume), progress_bars(quiet) as bar:
        shard = ShardReader(config.data.meta)
        if config.preset is not None:
            check_shard(config.preset, shard.header.dataset, shard.header.settings)
        check_meta_batch(config, len(shard))
        data = load(shard, config.data, config.run.seed, lambda rows, name: bar.track(rows, description=f"LOAD {name}"))
        assembly = assemble(config, data)
    if not quiet:
        click.echo(describe(data), err=True)
    with progress_bars(quiet) as bar:
        task = bar.add_task("TRAIN", total=None)

        def on_step(step: loop.Done) -> None:
            meta = "" if step.losses.meta is None else f", meta {step.losses.meta:.3f}"
            text = f"TRAIN epoch {step.epoch}, loss {step.losses.train:.3f}{meta}"
            bar.update(task, completed=step.step, total=step.steps, description=text)

        board = run_folder.board_of(config.folder)

        def on_epoch(history: list[dict[str, Any]]) -> None:
            run_folder.write_metrics(config.folder, history)
            if board is not None:
                run_folder.show_on(board, history[-1])

        hooks = loop.Hooks(on_step, on_epoch, lambda rows, name: bar.track(rows, description=name))
        checkpoint = run_folder.checkpoint_of(config.folder, config.as_json(), data)
        with divergence_spelt_as_options():
            outcome = loop.train(assembly, hooks, checkpoint, resume)
    attention, looks = look_at(outcome.network, data.meta)
    result = result_of(config.as_json(), data, outcome, attention)
    run_folder.save(config.folder, result, outcome, data.header.settings["size"], config.run.export)
    write_page(config.folder, config.folder / PAGE, looks)
    return result


@contextmanager
def divergence_spelt_as_options() -> Iterator[None]:
    """Within it, the remedy for a run that diverged names the options of the command line."""
    from clp_train.algorithm.losses import REMEDY, DivergedError

    try:
        yield
    except DivergedError as error:
        raise DivergedError(str(error).replace(REMEDY, "lower --lr, with another --out")) from None


def describe(data: RunData) -> str:
    """Say in one line what a run learns from and is measured on."""
    from clp_train.pictures.types import kind_counts

    kinds = ", ".join(f"{n} {kind}s" for kind, n in kind_counts(data.meta).items())
    splits = ", ".join(f"{name} {len(part)}" for name, part in data.evaluation.items())
    missing = "" if "val" in data.evaluation else "; no val split: nothing is selected, the last epoch counts"
    return f"{data.header.dataset}: train {len(data.train)}, {splits}; meta set: {kinds}{missing}"


def show(result: dict[str, Any]) -> None:
    """Print the table of a result on stdout."""
    from rich.console import Console

    from clp_train.report.table import accuracy_table

    console = Console()
    if not console.is_terminal:
        console = Console(width=120)  # a pipe has no width of its own
    console.print(accuracy_table(result))
