"""clp-train: parse, build a TrainConfig, run, print. Heavy imports wait until a run starts."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clp_aug import __version__
from clp_aug.common.settings import about, type_of
from clp_aug.common.terminal import one_line_errors, say
from clp_aug.contract.errors import ClpError, SettingError
from clp_train.config import TrainConfig, option_names, owner_of, spelt_as_options
from clp_train.exports import FILES, PT2, forms_of
from clp_train.list_settings import default_of, range_of, settings_text
from clp_train.next_command import attacked_shard, command_again, other_method, root_to_say
from clp_train.presets import names
from clp_train.presets.applying import config_of, left_out, stepped_back, with_choice
from clp_train.presets.choosing import NONE
from clp_train.ranks.ending import ends_as_rank

if TYPE_CHECKING:
    from clp_train.finishing import Finished
    from clp_train.presets.choosing import Choice
    from clp_train.ranks.team import Ranks

ALONE = {"export": PT2}
"""Setting -> what its option means where it stands without a value."""
USUAL = {"cache": "CLP_CACHE"}
"""Setting -> the variable of the environment that gives it where its option does not."""
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
        alone: dict[str, Any] = {"is_flag": False, "flag_value": ALONE[name]} if name in ALONE else {}
        if kind is bool:
            command = click.option(flag, is_flag=True, default=None, help=declaration.help)(command)
            continue
        default = "required" if field.default is MISSING else f"default: {default_of(field)}"
        help = f"{declaration.help} {range_of(owner_of(name), field)}" if declaration.choices else declaration.help
        help = f"{help}  [{default}]"
        if name == "preset":
            help = f"Settings to start from: {', '.join(names())}, a .toml file, or {NONE}.  [default: what fits]"
        metavar, usual = declaration.metavar or None, USUAL.get(name)
        command = click.option(flag, type=TYPES[kind], metavar=metavar, help=help, envvar=usual, **alone)(command)
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
@ends_as_rank
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
    from clp_train.ranks.launching import joined, ranks_of

    ranks = ranks_of(os.environ)
    with joined(ranks), spelt_as_options():
        config, finished = run_chosen(values, texts, quiet, resume, ranks)
    if finished is None:
        return
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
    values: Mapping[str, Any], texts: Sequence[str], quiet: bool, resume: bool, ranks: Ranks
) -> tuple[TrainConfig, Finished | None]:
    """Do the run of a command line, with the preset that it names, else with one that fits; say which, unless quiet.

    Where method or data refuse a setting that only the chosen preset has, the run starts again from the defaults.
    None in place of the run on a rank that only helped.
    """
    config, choice = with_choice(values, texts)
    tell(config, choice, quiet, ranks)
    try:
        return config, run(config, quiet, resume, ranks)
    except SettingError as error:
        config, choice = config_of(values, texts), stepped_back(choice, error, values, texts)
    tell(config, choice, quiet, ranks)
    return config, run(config, quiet, resume, ranks)


def run(config: TrainConfig, quiet: bool, resume: bool, ranks: Ranks) -> Finished | None:
    """Do a run, as `clp_train.run.run` does."""
    from clp_train.run import run as run_config

    return run_config(config, quiet, resume, ranks)


def tell(config: TrainConfig, choice: Choice | None, quiet: bool, ranks: Ranks) -> None:
    """Print on stderr, once for all ranks, which preset was chosen, and what of a preset was left out."""
    if not ranks.is_first:
        return
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
