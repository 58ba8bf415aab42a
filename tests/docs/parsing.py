"""Whether a command that a page shows could run: its options exist and their values are valid. Nothing is run."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from clp_aug.contract.errors import ClpError, InputError
from tests.docs.pages import ROOT
from tests.test_project import COMMANDS

OPEN = re.compile(r"[$`]|\bNAME\b")
"""In a word: the shell, or the reader, fills it in."""

NO_FILE = re.compile(r"no file \S+\.py|\.toml: no such file")
"""In a message: a file of the reader's own is missing."""


class Wrong(Exception):
    """A command that no reader could run."""


def check(words: Sequence[str], here: Path, is_run: bool) -> None:
    """Raise Wrong unless a command can be parsed. here: folder with the files that its page writes.

    is_run: whether the page runs it, so that all of its own files are there when it is run.
    """
    tool, rest = words[0], list(words[1:])
    if tool in COMMANDS:
        check_tool(tool, rest, is_run)
    elif tool in ("python", "python3"):
        check_python(rest, here, is_run)
    elif tool == "torchrun":
        if "-m" in rest:
            check_python(rest[rest.index("-m") :], here, is_run)
    elif tool == "make":
        check_make(rest)
    elif tool == "pip":
        check_pip(rest)


def check_tool(tool: str, arguments: list[str], is_run: bool) -> None:
    """Raise Wrong unless a command of ours takes the arguments. is_run: as in `check`."""
    command = command_of(tool)
    if any(OPEN.search(word) for word in arguments):
        only_names(command, tool, arguments)
        return
    try:
        context = command.make_context(tool, list(arguments))
        while isinstance(context.command, click.Group):
            name, inner, rest = context.command.resolve_command(context, [*context._protected_args, *context.args])
            assert inner is not None
            context = inner.make_context(name, rest, parent=context)
        check_settings(tool, context)
    except click.exceptions.Exit:
        return
    except click.ClickException as error:
        raise Wrong(error.format_message()) from None
    except InputError:
        return  # a file that is not there: settings were read before
    except ClpError as error:
        if NO_FILE.search(str(error)) and not is_run:
            return
        raise Wrong(str(error)) from None


def command_of(tool: str) -> click.Command:
    """Return the click command of a tool."""
    command: click.Command = getattr(importlib.import_module(COMMANDS[tool]), tool.removeprefix("clp-"))
    return command


def only_names(command: click.Command, tool: str, arguments: list[str]) -> None:
    """Raise Wrong for an option that a command does not have; values are not looked at."""
    context = click.Context(command, info_name=tool, **command.context_settings)
    names = {name for param in command.get_params(context) for name in (*param.opts, *param.secondary_opts)}
    if isinstance(command, click.Group) and arguments and arguments[0] in command.commands:
        only_names(command.commands[arguments[0]], tool, arguments[1:])
        return
    unknown = [word for word in arguments if word.startswith("--") and word.partition("=")[0] not in names]
    if unknown and arguments[:1] != ["data"]:
        raise Wrong(f"no such option: {unknown[0]}")


def check_settings(tool: str, context: click.Context) -> None:
    """Make the settings that a command would make. Raises ClpError for values that cannot be used."""
    params: dict[str, Any] = dict(context.params)
    if tool == "clp-train":
        from clp_train.config import option_names, spelt_as_options
        from clp_train.presets.applying import config_of

        if any(value for name, value in params.items() if name.startswith("list_") and value is not None):
            return
        given = {name: params[name] for name in option_names() if params.get(name) is not None}
        with spelt_as_options():
            config_of(given, params["texts"])
    elif tool == "clp-augment":
        from clp_aug import cli
        from clp_aug.common.settings import fields_of
        from clp_aug.config import AugmentConfig

        if any(value for name, value in params.items() if name.startswith("list_") and value):
            return
        settings = {name: value for name, value in params.items() if name in fields_of(AugmentConfig)}
        options = {name: params[name] for name in cli.FILL_SETTINGS}
        options |= cli.options_of_texts(params["texts"], (*settings["cf"], *settings["f"]))
        settings["workers"] = settings.get("workers") or 1
        AugmentConfig(options=options, **settings)
    elif tool == "clp-bench" and not params["table"].endswith(".toml"):
        from clp_train.bench.cli import tables_to_make

        tables_to_make(params["table"], params["scale"])


def check_python(arguments: list[str], here: Path, is_run: bool) -> None:
    """Raise Wrong for a module or a script that is not there; what belongs to clp-train is checked as its own."""
    if not arguments or arguments[0] in ("-", "-c") or any(OPEN.search(word) for word in arguments[:2]):
        return
    if arguments[0] == "-m":
        module = arguments[1]
        if module == "clp_train":
            check_tool("clp-train", arguments[2:], is_run)
        elif module == "pip":
            check_pip(arguments[2:])
        elif not (ROOT / Path(*module.split("."))).with_suffix(".py").exists() and not is_module(module):
            raise Wrong(f"no module {module}")
        return
    script = next((word for word in arguments if not word.startswith("-")), "")
    if is_run and script and not (here / script).exists() and not (ROOT / script).exists():
        raise Wrong(f"{script}: no page writes it and the repository does not have it")


def is_module(name: str) -> bool:
    """Whether a module can be found, without importing it."""
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def check_make(arguments: list[str]) -> None:
    """Raise Wrong for a target that the Makefile does not have."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    for word in arguments:
        if not word.startswith("-") and "=" not in word and not re.search(rf"^{re.escape(word)}:", text, re.M):
            raise Wrong(f"no target {word} in the Makefile")


def check_pip(arguments: list[str]) -> None:
    """Raise Wrong for an extra of this package that setup.cfg does not have."""
    import configparser

    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    known = set(setup["options.extras_require"])
    for word in arguments:
        extras = re.search(r"(?:^\.|causal-logit-perturbation)\[([^\]]*)\]", word)
        unknown = {name.strip() for name in extras[1].split(",")} - known if extras else set()
        if unknown and not OPEN.search(word) and unknown != {"EXTRA"}:
            raise Wrong(f"no extra {', '.join(sorted(unknown))} in setup.cfg")
