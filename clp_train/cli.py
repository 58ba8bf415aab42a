"""clp-train: parse, build a TrainConfig, run, print. Heavy imports wait until a run starts."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clp_aug import __version__
from clp_aug.common.command import MAIN, Tool
from clp_aug.common.completing import Offer
from clp_aug.common.settings import about, type_of
from clp_aug.common.terminal import one_line_errors, say
from clp_aug.contract.errors import ClpError, SettingError
from clp_train.config import TrainConfig, named_method, option_names, owner_of, spelt_as_options
from clp_train.exports import FILES, PT2, forms_of
from clp_train.list_settings import default_of, range_of, settings_text
from clp_train.next_command import attacked_shard, command_again, other_method, root_to_say
from clp_train.presets.aliases import INSTEAD, texts_with_stored_names
from clp_train.presets.applying import config_of, left_out, stepped_back, with_choice
from clp_train.presets.choosing import NONE
from clp_train.ranks.ending import ends_as_rank

if TYPE_CHECKING:
    from clp_train.finishing import Finished
    from clp_train.presets.choosing import Choice
    from clp_train.ranks.team import Ranks

GROUPS = {
    MAIN: (
        "meta", "method", "preset", "root", "model", "epochs", "batch_size", "lr", "seed", "out", "resume", "texts",
    ),
    "Data": ("dataset", "audit", "limit", "cache", "store", "workers"),
    "Method": ("optimiser", "schedule", "weight_decay"),
    "Meta step": ("meta_batch_size", "meta_delta", "omega_lr"),
    "Saliency term": ("saliency_lambda", "saliency_target", "saliency_interval"),
    "Run": ("device", "precision", "select"),
    "Output": ("export", "quiet", "as_json"),
    "Lists and help": ("list_methods", "list_presets", "list_models", "list_settings", "markdown", "version", "help"),
}  # fmt: skip
"""Heading -> the options below it; --set gives all other settings."""
ALONE = {"export": PT2}
"""Setting -> the value of its option where it is given without one."""
USUAL = {"cache": "CLP_CACHE"}
"""Setting -> the environment variable that gives it where its option does not."""
OFFERED = {"preset": "PRESET", "method": "METHOD", "model": "MODEL", "export": "EXPORT"}
"""Setting -> what shells offer for it, a name of `presets.completions`."""
WIDE = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
TYPES = {int: int, float: float, str: str, Path: click.Path(path_type=Path)}
Command = Callable[..., None]


def setting_options(command: Command) -> Command:
    """Declare an option for each setting that has one: None unless it is given; the help text says its default."""
    for name in reversed(option_names()):
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
            help = f"Settings to start from: a name of --list-presets, a .toml file, or {NONE}.  [default: what fits]"
        offer = completion_of(name, declaration.choices)
        metavar, usual = declaration.metavar or None, USUAL.get(name)
        command = click.option(
            flag, type=TYPES[kind], metavar=metavar, help=help, envvar=usual, shell_complete=offer, **alone
        )(command)
    return command


def completion_of(name: str, choices: Collection[str]) -> Offer | None:
    """Return what a shell offers behind the option of a setting, None for nothing but files."""
    if name in OFFERED or choices:
        return late(OFFERED.get(name, ""), choices)
    return None


def late(name: str, choices: Collection[str] = ()) -> Offer:
    """Return what offers a name of `presets.completions`, which is read when a shell asks; without a name, choices."""

    def offer(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        from clp_aug.common.completing import items
        from clp_train.presets import completions

        known: Offer = getattr(completions, name) if name else lambda *_: items(choices, incomplete)
        return known(ctx, param, incomplete)

    return offer


@click.command(cls=Tool, groups=GROUPS, instead=INSTEAD, context_settings=WIDE)
@click.version_option(__version__)
@setting_options
@click.option(
    "--set",
    "texts",
    multiple=True,
    metavar="KEY=VALUE",
    help="Any setting, e.g. meta_step=lagged; --list-settings lists them.",
    shell_complete=late("SETTINGS"),
)
@click.option("--resume", is_flag=True, help="Continue a killed run, bit by bit, or a finished one for more --epochs.")
@click.option("--list-methods", is_flag=True, help="Print every method with what it needs and costs; train nothing.")
@click.option("--list-presets", is_flag=True, help="Print every preset with what it is for; train nothing.")
@click.option("--list-models", is_flag=True, help="Print every model with what it needs; train nothing.")
@click.option(
    "--list-settings",
    is_flag=False,
    flag_value="",
    metavar="[METHOD]",
    help="Print every setting, or those of a method; train nothing.",
    shell_complete=late("METHOD"),
)
@click.option("--markdown", is_flag=True, help="With a --list option: print a page of the docs.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON in place of the table.")
@ends_as_rank
@one_line_errors("no result was written; --resume continues from the last checkpoint, if there is one")
def train(
    texts: Sequence[str],
    resume: bool,
    list_methods: bool,
    list_presets: bool,
    list_models: bool,
    list_settings: str | None,
    markdown: bool,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Train a classifier on a shard and the data set that it was made from; report the accuracy of each group.

    clp-train --meta shards/demo-tile-random-seed0.h5 --method clp
    """
    asked = {"methods": list_methods, "presets": list_presets, "models": list_models}
    of = next((what for what, is_asked in asked.items() if is_asked), None if list_settings is None else "settings")
    if of is not None:
        with spelt_as_options():
            click.echo(list_of(of, list_settings or options["method"], markdown))
        return
    values = {name: value for name, value in options.items() if value is not None}
    texts = texts_with_stored_names(texts, values, named_method(values, texts=texts))
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


def list_of(what: str, method: str | None, markdown: bool) -> str:
    """Return the list of all methods, presets, models or settings as text. method: of `settings`, None for all."""
    if what == "methods":
        from clp_train.methods.listing import methods_table

        return methods_table(markdown, method)
    if what == "presets":
        from clp_train.presets.listing import presets_table

        return presets_table(markdown)
    if what == "models":
        from clp_train.models.listing import models_table

        return models_table(markdown)
    return settings_text(method, markdown)


def run_chosen(
    values: Mapping[str, Any], texts: Sequence[str], quiet: bool, resume: bool, ranks: Ranks
) -> tuple[TrainConfig, Finished | None]:
    """Do the run of a command line with the preset that it names, else with one that fits; say which, unless quiet.

    If the method or the data refuse a setting that only the chosen preset has, the run starts again from the defaults.
    The run is None on a rank that only helped.
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
    """Print on stderr, once for all ranks, which preset was chosen, and which of its settings were left out."""
    if not ranks.is_first:
        return
    if choice is not None and not quiet:
        say(str(choice), err=True)
    for line in left_out(config):
        say(line, err=True)


def suggest_command(
    config: TrainConfig, result: Mapping[str, Any], values: Mapping[str, Any], texts: Sequence[str]
) -> str:
    """Return the next command to run."""
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
    """Print the table of a result on stdout, and a remark where only one class is predicted."""
    from clp_aug.common.consoles import PlainConsole
    from clp_train.report.table import accuracy_table
    from clp_train.result import collapses

    console = PlainConsole()
    if not console.is_terminal:
        console = PlainConsole(width=120)  # a pipe has no width of its own
    console.print(accuracy_table(result))
    for remark in collapses(result):
        say(remark)
