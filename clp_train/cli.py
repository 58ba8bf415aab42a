"""clp-train: parse, build a TrainConfig, run, print. Heavy imports wait until a run starts."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clp_aug import __version__
from clp_aug.common.settings import about, type_of
from clp_aug.common.terminal import one_line_errors, progress_bars, say
from clp_aug.contract.errors import ClpError, SettingError
from clp_train.config import TrainConfig, option_names, owner_of, spelt_as_options
from clp_train.exports import FILES, PT2, forms_of
from clp_train.list_settings import default_of, range_of, settings_text
from clp_train.next_command import attacked_shard, command_again, other_method, root_to_say
from clp_train.presets import check_shard, names
from clp_train.presets.applying import config_of, left_out, stepped_back, with_choice
from clp_train.presets.choosing import NONE

if TYPE_CHECKING:
    from clp_aug.common.progress import Bars, Watch
    from clp_train.finishing import Finished
    from clp_train.loading.data import RunData
    from clp_train.presets.choosing import Choice
    from clp_train.running.assembly import Assembly
    from clp_train.running.loop import Trained

ALONE = {"export": PT2}
"""Setting -> what its option means where it stands without a value."""
TYPES = {int: int, float: float, str: str, Path: click.Path(path_type=Path)}
Command = Callable[..., None]
MEMORY_OPTIONS = "lower --batch-size and --meta-batch-size, or take --store memory or --precision bf16"


def setting_options(command: Command) -> Command:
    """Declare an option for each setting that has one: None unless it is given; its default stands in the help."""
    order = dict.fromkeys(["meta", "method", "preset", *option_names()])
    for name in reversed(order):
        field = option_names()[name]
        declaration = about(field)
        kind, _ = type_of(owner_of(name), name)
        flag = "--" + name.replace("_", "-")
        alone: dict[str, Any] = {"is_flag": False, "flag_value": ALONE[name]} if name in ALONE else {}
        if kind is bool:
            command = click.option(flag, is_flag=True, default=None, help=declaration.help)(command)
            continue
        default = "required" if field.default is MISSING else f"default: {default_of(field)}"
        help = f"{declaration.help} {range_of(owner_of(name), field)}" if declaration.choices else declaration.help
        help = f"{help}  [{default}]"
        if name == "preset":
            help = f"Settings to start from: {', '.join(names())}, a .toml file, or {NONE}.  [default: what fits]"
        command = click.option(flag, type=TYPES[kind], metavar=declaration.metavar or None, help=help, **alone)(command)
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
@click.option(
    "--resume", is_flag=True, help="Go on with a killed run, bit by bit; with a finished one for more --epochs."
)
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
        with spelt_as_options():
            show_list(list_methods, list_settings or options["method"], markdown)
        return
    values = {name: value for name, value in options.items() if value is not None}
    with spelt_as_options():
        config, finished = run_chosen(values, texts, quiet, resume)
    warn(finished, command_again(values, texts))
    if as_json:
        click.echo(json.dumps(finished.result))
        return
    show(finished.result)
    say(f"{finished.made}; next: {suggest_command(config, finished.result, values, texts)}")


def warn(finished: Finished, again: str) -> None:
    """Print on stderr what a finished run lacks. again: the command that may make it."""
    lines = [f"{reason}; the run is complete: {again} makes the rest" for reason in finished.lacks]
    for line in (*lines, *finished.lost):
        say(" ".join(f"warning: {line}".split()), err=True)


def show_list(methods: bool, method: str | None, markdown: bool) -> None:
    """Print the table of methods, or the list of settings."""
    from clp_train.methods.listing import methods_table

    click.echo(methods_table(markdown, method) if methods else settings_text(method, markdown))


def run_chosen(
    values: Mapping[str, Any], texts: Sequence[str], quiet: bool, resume: bool
) -> tuple[TrainConfig, Finished]:
    """Do the run of a command line, with the preset that it names, else with one that fits; say which, unless quiet.

    Where method or data refuse a setting that only the chosen preset has, the run starts again from the defaults.
    """
    config, choice = with_choice(values, texts)
    tell(config, choice, quiet)
    try:
        return config, run(config, quiet, resume)
    except SettingError as error:
        config, choice = config_of(values, texts), stepped_back(choice, error, values, texts)
    tell(config, choice, quiet)
    return config, run(config, quiet, resume)


def tell(config: TrainConfig, choice: Choice | None, quiet: bool) -> None:
    """Print on stderr which preset was chosen, and what of a preset was left out."""
    if choice is not None and not quiet:
        say(str(choice), err=True)
    for line in left_out(config):
        say(line, err=True)


def suggest_command(
    config: TrainConfig, result: Mapping[str, Any], values: Mapping[str, Any], texts: Sequence[str]
) -> str:
    """Return the command to run next."""
    name = config.data.dataset or result["dataset"]  # of a plug-in with its folder, as it was given
    root = root_to_say(name, config.data.root)
    if PT2 in forms_of(config.run.export):
        classifier = config.folder / FILES[PT2]
        attack = attacked_shard(result["shard_settings"], name, root, classifier)
        if attack is not None:
            return attack
    more = {"root": root} if config.data.root is None and root is not None else {}
    return other_method({**values, **more}, texts, config.data.meta, config.method, begins_a_run)


def begins_a_run(line: str) -> bool:
    """Tell whether a command of clp-train is valid, and its folder not there yet."""
    try:
        with train.make_context("clp-train", shlex.split(line)[1:]) as context:
            values = {name: context.params[name] for name in option_names() if context.params[name] is not None}
            return not with_choice(values, context.params["texts"])[0].folder.exists()
    except ClpError:
        return False


def run(config: TrainConfig, quiet: bool, resume: bool = False) -> Finished:
    """LOAD, train, EVALUATE and write the run's folder; or make what a finished one lacks, where it is resumed."""
    from clp_aug.common import memory
    from clp_train import finishing, run_folder
    from clp_train.running.place import find_place

    memory.keep_freed_memory()
    place = find_place(config.run)
    with run_folder.folder_for(config.folder, resume), remedies_spelt_as_options(), place.active():
        finished = run_folder.is_finished(config.folder)
        if finished and not finishing.has_more_epochs(config):
            with progress_bars(quiet) as bar:
                return finishing.complete(config, load_bar(bar))
        if not quiet:
            say(f"on {place}", err=True)
        assembly = load(config, quiet)
        if finished:
            finishing.reopen(assembly, str(assembly.place.device))
        return finishing.conclude(config, assembly.data, train_on(assembly, quiet, resume), place.name)


def load(config: TrainConfig, quiet: bool) -> Assembly:
    """LOAD: read the shard and the pictures, and make what the loop takes. Raises what cannot be trained on."""
    from clp_aug.contract.shards import ShardReader
    from clp_train.loading.data import geometry, load
    from clp_train.loading.views import check_views_given
    from clp_train.running.assembly import assemble, check_meta_batch
    from clp_train.running.trial import check_before_load

    with progress_bars(quiet) as bar:
        shard = ShardReader(config.data.meta)
        if config.preset is not None:
            check_shard(config.preset, shard.header.dataset, shard.header.settings)
        check_meta_batch(config, len(shard))
        check_views_given(config.run.select, config.data.audit, shard.header)
        check_before_load(config, len(shard.header.class_names), geometry(shard)[0])
        data = load(shard, config.data, config.run.seed, load_bar(bar))
        assembly = assemble(config, data)
    if not quiet:
        say(describe(data), err=True)
        start = assembly.network.start_weights
        if start is not None:
            say(f"starts from {start.file}: {start.taken}", err=True)
    return assembly


def load_bar(bar: Bars) -> Watch:
    """Return what shows the pictures of a split while they are read."""
    return lambda rows, name: bar.track(rows, description=f"LOAD {name}")


def train_on(assembly: Assembly, quiet: bool, resume: bool) -> Trained:
    """Train, with a bar, metrics and curves by epoch, and the full state on disk."""
    from clp_train import run_folder
    from clp_train.board import board_for
    from clp_train.running import loop

    config = assembly.config
    device = str(assembly.place.device)
    checkpoint = run_folder.checkpoint_of(config.folder, config.as_json(), assembly.data, device)
    with progress_bars(quiet) as bar, board_for(config.folder) as show_curves:
        task = bar.add_task("TRAIN", total=None)

        def on_step(step: loop.Done) -> None:
            meta = "" if step.losses.meta is None else f", meta {step.losses.meta:.3f}"
            text = f"TRAIN epoch {step.epoch}, loss {step.losses.train:.3f}{meta}"
            bar.update(task, completed=step.step, total=step.steps, description=text)

        def on_epoch(history: list[dict[str, Any]]) -> None:
            run_folder.write_metrics(config.folder, history)
            show_curves(history[-1])

        hooks = loop.Hooks(on_step, on_epoch, lambda rows, name: bar.track(rows, description=name), remark=remark)
        return loop.train(assembly, hooks, checkpoint, resume)


def remark(line: str) -> None:
    """Print a remark on stderr."""
    say(line, err=True)


@contextmanager
def remedies_spelt_as_options() -> Iterator[None]:
    """Within it, remedies for a run that diverged, or ran out of memory, name what is given on the command line."""
    from clp_aug.contract.errors import InputError
    from clp_train.algorithm.losses import REMEDY, DivergedError
    from clp_train.running.place import LESS_MEMORY

    spelt = {REMEDY: "lower --lr, with another --out", LESS_MEMORY: MEMORY_OPTIONS}
    try:
        yield
    except (DivergedError, InputError) as error:
        remedy = next((remedy for remedy in spelt if remedy in str(error)), None)
        if remedy is None:
            raise
        raise type(error)(str(error).replace(remedy, spelt[remedy])) from None


def describe(data: RunData) -> str:
    """Say in one line what a run learns from and is measured on."""
    from clp_train.pictures.types import kind_counts

    kinds = ", ".join(f"{n} {kind}s" for kind, n in kind_counts(data.meta).items())
    splits = ", ".join(f"{name} {len(part)}" for name, part in data.evaluation.items())
    missing = "" if "val" in data.evaluation else "; no val split: nothing is selected, the last epoch counts"
    return f"{data.header.dataset}: train {len(data.train)}, {splits}; meta set: {kinds}{missing}"


def show(result: dict[str, Any]) -> None:
    """Print the table of a result on stdout, and what it means where only one class is predicted."""
    from clp_aug.common.consoles import PlainConsole
    from clp_train.report.table import accuracy_table
    from clp_train.result import collapses

    console = PlainConsole()
    if not console.is_terminal:
        console = PlainConsole(width=120)  # a pipe has no width of its own
    console.print(accuracy_table(result))
    for remark in collapses(result):
        say(remark)
