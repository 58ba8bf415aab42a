"""Run the commands of pages: python -m tests.docs.run_commands [PAGE...]. Prints each command with its exit code.

A page is a script: its `sh` blocks run from top to bottom in an empty folder, with `bash -e`. Commands that are marked
"not run" are listed with the reason. The exit code is 1 if a page failed.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import stat
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from tests.docs.pages import ROOT, TOOLS, Block, blocks, commands, documented
from tests.docs.setups import SETUPS

BIN = Path(sys.executable).parent
DROPPED = ("CLP_DATA", "CLP_CACHE", "PYTHONPATH", "PYTEST_CURRENT_TEST")


@dataclass
class Done:
    """What became of a page. commands: (command as shown, exit code or why it was not run, seconds)."""

    page: Path
    commands: list[tuple[str, str, float]] = field(default_factory=list)
    failure: str = ""


def tool_path(tool: str) -> str:
    """Return where a tool of the running environment is."""
    return str(BIN / tool)


def environment() -> dict[str, str]:
    """Return the environment of a page's commands: the CPU, one thread, nothing of the user's own."""
    kept = {name: value for name, value in os.environ.items() if name not in DROPPED}
    return kept | {"CLP_DEVICE": "cpu", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}


def run_page(page: Path, limit: float = 600) -> Done:
    """Run the blocks of a page in an empty folder, at most so many seconds a block; stop at the first that fails."""
    done = Done(page)
    with tempfile.TemporaryDirectory(prefix="clp-page-") as name:
        here, tools = Path(name) / "page", Path(name) / "bin"
        here.mkdir()
        write_shims(tools)
        log = Path(name) / "log.jsonl"
        env = environment() | {"PATH": f"{tools}:{os.environ['PATH']}", "CLP_DOCS_LOG": str(log), "HOME": name}
        for block in blocks(page):
            try:
                prepare(block, here)
            except (RuntimeError, KeyError) as error:
                done.failure = f"{block.place}: {error}"
            if not done.failure and block.is_shell and not block.not_run:
                done.failure = run_block(block, here, env, log, limit, done)
            elif block.is_shell:
                reason = f"not run: {block.not_run}" if block.not_run else "not reached"
                done.commands += [(shlex.join(words), reason, 0.0) for words in commands(block.code)]
    return done


def prepare(block: Block, here: Path) -> None:
    """Write the files that a block needs: its setups, and itself where it is a file."""
    for name in block.markers.get("setup", []):
        if name not in SETUPS:
            raise KeyError(f"unknown setup {name}; choose one of {', '.join(SETUPS)}")
        SETUPS[name](here)
    for name in block.markers.get("file", []):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text(block.code, encoding="utf-8")


def run_block(block: Block, here: Path, env: dict[str, str], log: Path, limit: float, done: Done) -> str:
    """Run a block and note its commands; return what failed, empty if nothing did."""
    before = len(read_log(log))
    try:
        ended = subprocess.run(
            ["bash", "-e", "-c", block.code], cwd=here, env=env, capture_output=True, text=True, timeout=limit,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        code, said = ended.returncode, ended.stderr
    except subprocess.TimeoutExpired:
        code, said = 124, f"longer than {limit:g} s"
    done.commands += [(shlex.join(c), str(code_), seconds) for c, code_, seconds in read_log(log)[before:]]
    expected = int(block.markers.get("exit code", ["0"])[0])
    if code == expected:
        return ""
    return f"{block.place}: exit code {code}, expected {expected}: {said.strip()[-600:]}"


def read_log(log: Path) -> list[tuple[list[str], int, float]]:
    """Return the commands that were run: words, exit code, seconds."""
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    entries = [json.loads(line) for line in lines]
    return [(entry["command"], entry["code"], entry["seconds"]) for entry in entries]


def write_shims(folder: Path) -> None:
    """Write a program for each tool that a page may run; see shim.py."""
    folder.mkdir()
    for tool in TOOLS:
        path = folder / tool
        path.write_text(
            f'#!/bin/sh\nexec "{sys.executable}" "{ROOT}/tests/docs/shim.py" {tool} "$@"\n', encoding="utf-8"
        )
        path.chmod(path.stat().st_mode | stat.S_IXUSR)


def main() -> int:
    """Run the pages that are named, or all; print a table of commands."""
    parser = argparse.ArgumentParser(prog="python -m tests.docs.run_commands", description=__doc__)
    parser.add_argument("pages", nargs="*", type=Path, help="Pages to run; all of them without it.")
    parser.add_argument("--markdown", action="store_true", help="Print a table of Markdown.")
    options = parser.parse_args()
    failures = []
    for page in [path.resolve() for path in options.pages] or documented():
        done = run_page(page)
        if done.commands or done.failure:
            print(
                f"\n{page.relative_to(ROOT).as_posix()}" + ("\n\n| command | exit code |\n|---|---|" * options.markdown)
            )
        for command, code, seconds in done.commands:
            cell = command.replace("|", "\\|")
            print(
                f"| `{cell}` | {code} |" if options.markdown else f"  {code:>5}  {seconds:5.1f} s  {command}",
                flush=True,
            )
        if done.failure:
            failures.append(done.failure)
            print(f"  FAILED {done.failure}")
    print(f"\n{len(failures)} pages failed", *failures, sep="\n")
    return int(bool(failures))


if __name__ == "__main__":
    raise SystemExit(main())
