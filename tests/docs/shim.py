"""What a page runs in place of a tool: it runs the tool, shorter where that is long, and notes the exit code.

Called as `shim.py TOOL ARGUMENTS...`. The file $CLP_DOCS_LOG gets a line of JSON for each command.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

BIN = Path(sys.executable).parent
STEPS, PICTURES = "2", "300"
"""Steps of clp-fit; training pictures of clp-train."""
STAGED = ("afr", "cnc", "crt", "glc", "jtt", "lws")
"""Methods with two stages, each of which needs an epoch."""


def main() -> int:
    """Run the tool; return its exit code."""
    tool, *shown = sys.argv[1:]
    done = short(tool, shown)
    binary = BIN / tool
    started = time.monotonic()
    child = subprocess.Popen([str(binary), *done])
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda received, _: child.send_signal(received))
    code = child.wait()
    code = code if code >= 0 else 128 - code
    entry = {"command": [tool, *shown], "run": [tool, *done], "code": code, "seconds": time.monotonic() - started}
    with open(os.environ["CLP_DOCS_LOG"], "a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")
    return code


def short(tool: str, arguments: list[str]) -> list[str]:
    """Return the arguments of a command that takes less time and writes to the same places."""
    if tool == "clp-fit":
        return [*arguments, "--steps", STEPS] if len(arguments) > 1 and "--help" not in arguments else arguments
    if tool == "clp-train":
        return short_training(arguments)
    if "clp_train" in arguments and arguments[arguments.index("clp_train") - 1] == "-m":
        at = arguments.index("clp_train") + 1
        return [*arguments[:at], *short_training(arguments[at:])]
    return arguments


def short_training(arguments: list[str]) -> list[str]:
    """Return the arguments of clp-train for one epoch of few pictures; one more for a second stage or --resume."""
    if not any(word in ("--meta", "--resume") or word.startswith("--meta=") for word in arguments):
        return arguments
    if any(word in ("--help", "-h") or word.startswith("--list-") for word in arguments):
        return arguments
    folder, epochs = folder_of(arguments)
    known = Path(os.environ["CLP_DOCS_LOG"]).with_suffix(".epochs")
    before = json.loads(known.read_text()) if known.exists() else {}
    more = "--resume" in arguments and before.get(folder, epochs) != epochs
    before.setdefault(folder, epochs)
    known.write_text(json.dumps(before))
    more_options = {"--out": folder, "--limit": PICTURES}
    added = [word for option, value in more_options.items() if not given(arguments, option) for word in (option, value)]
    staged = any(word in STAGED or word in [f"--method={name}" for name in STAGED] for word in arguments)
    return [*arguments, *added, "--epochs", str(1 + more + staged)]


def given(arguments: list[str], option: str) -> bool:
    """Whether an option is given."""
    return any(word == option or word.startswith(f"{option}=") for word in arguments)


def folder_of(arguments: list[str]) -> tuple[str, int]:
    """Return the folder that a run would have as it is shown, and its epochs."""
    from clp_train import cli
    from clp_train.config import option_names
    from clp_train.presets.applying import with_choice

    params = cli.train.make_context("clp-train", list(arguments)).params
    values = {name: params[name] for name in option_names() if params.get(name) is not None}
    config, _ = with_choice(values, params["texts"])
    return str(config.folder), config.run.epochs


if __name__ == "__main__":
    raise SystemExit(main())
