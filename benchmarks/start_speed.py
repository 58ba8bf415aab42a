"""How long from a command to its help, to its first block, through one epoch?

    python benchmarks/start_speed.py [--rows help,floor,block,epoch,head] [--old TREE] [--root FOLDER] [--rounds 3]

help: every tool's --help. floor: Python alone, with click, numpy and torch, which no tool of ours can go below. block:
clp-augment on the built-in set until the first block is on the disk. epoch: a whole run of clp-train of one epoch on
its shard, with EVALUATE and its files: plain cross entropy; the same from a cache of decoded pictures; and CLP, whose
preset learns what backgrounds say before the first step. head: the second such run of a head on a frozen body with a
cache, and the first one, which computes the features; its pictures are --root, a set in the layout of Waterbirds, and
the row is left out without it.

--old: a checkout of another version, run by the same Python. Both take turns in every round; figures are medians and
least values of all rounds, ratios are of one round. Modules are compiled once before, as those of an installed package
are; times are those of a machine on which nothing else runs. Figures of rows that an earlier call put into FILE stay.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).resolve().parents[1]
TOOLS = ("augment", "inspect", "fit", "data", "train", "predict", "audit", "compare", "bench")
ROWS = ("help", "floor", "block", "epoch", "head")
FLOORS = {"python": "pass", "click": "import click", "numpy": "import numpy", "torch": "import torch"}
REPEATS = 4  # of a help text, a round
DONE = "*.done"  # a block's mark
TICK = 0.002  # seconds between looks for a mark
LONGEST = 200.0  # seconds that a command may take
MAKE = ("--dataset", "demo", "--cf", "tile,random", "--f", "random,mix-rand", "--size", "24", "--quiet")
WATERBIRDS = ("--dataset", "waterbirds", "--cf", "tile", "--f", "mix-rand", "--quiet")
SCRIPT = "import sys\nfrom {module} import {name}\nif __name__ == '__main__':\n    sys.exit({name}())\n"
"""What an installer makes of an entry point."""
ENTRY = re.compile(r"^ {4}(clp-\w+) = ([\w.]+):(\w+)$", re.M)
LEFT_OUT = ("PYTHONDONTWRITEBYTECODE", "CLP_CACHE")  # of the environment
MADE_BEFORE = ("epoch", "head")
"""Rows that have run a command before they are measured."""
Measures = dict[str, Callable[[], float]]


class Version:
    """A checkout whose tools are run, as if it was installed. folder: for its scripts, and what is compiled of it."""

    def __init__(self, tree: Path, folder: Path) -> None:
        without = {key: value for key, value in os.environ.items() if key not in LEFT_OUT}
        self.env = without | {"PYTHONPATH": str(tree), "PYTHONPYCACHEPREFIX": str(folder / "compiled")}
        self.folder = folder
        folder.mkdir()
        for tool, module, name in ENTRY.findall((tree / "setup.cfg").read_text()):
            (folder / tool).write_text(SCRIPT.format(module=module, name=name))

    def tool(self, name: str, *options: object) -> list[str]:
        """Return a tool's command."""
        return [sys.executable, str(self.folder / f"clp-{name}"), *map(str, options)]

    def run(self, command: Sequence[str]) -> float:
        """Return the seconds that a command takes. Raises CalledProcessError where it fails."""
        start = time.perf_counter()
        subprocess.run(command, env=self.env, check=True, capture_output=True, timeout=LONGEST)
        return time.perf_counter() - start

    def until_block(self, folder: Path, workers: int) -> float:
        """Return the seconds until clp-augment has written a block into an empty folder, and end it."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        command = self.tool("augment", *MAKE, "--workers", workers, "--out", folder / "demo.h5")
        start = time.perf_counter()
        process = subprocess.Popen(command, env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not any(folder.rglob(DONE)):
            if process.poll() is not None or time.perf_counter() - start > LONGEST:
                raise RuntimeError(f"no block was written: {command}")
            time.sleep(TICK)
        seconds = time.perf_counter() - start
        process.wait(LONGEST)
        return seconds

    def one_epoch(self, folder: Path, *options: object) -> float:
        """Return the seconds of a whole run of clp-train of one epoch."""
        shutil.rmtree(folder, ignore_errors=True)
        return self.run(self.tool("train", *options, "--epochs", 1, "--out", folder))


def helps(version: Version) -> Measures:
    """Return what measures each tool's help."""

    def least(name: str) -> float:
        return min(version.run(version.tool(name, "--help")) for _ in range(REPEATS))

    return {name: lambda name=name: least(name) for name in TOOLS}  # type: ignore[misc]


def floors(version: Version) -> Measures:
    """Return what measures Python with one library alone."""
    return {
        name: lambda code=code: version.run([sys.executable, "-c", code])  # type: ignore[misc]
        for name, code in FLOORS.items()
    }


def blocks(version: Version, work: Path) -> Measures:
    """Return what measures the first block of clp-augment."""
    return {
        f"{n} worker{'s' if n > 1 else ''}": lambda n=n: version.until_block(work / "blocks", n)  # type: ignore[misc]
        for n in (1, 2)
    }


def epochs(version: Version, work: Path, key: str) -> Measures:
    """Return what measures an epoch of clp-train on the built-in set. key: of the version, for its cache."""
    shard, cache = work / "demo.h5", work / f"demo-cache-{key}"
    if not shard.exists():
        version.run(version.tool("augment", *MAKE, "--out", shard))
    common = ("--meta", shard)
    version.one_epoch(work / "run", *common, "--method", "erm", "--cache", cache)
    return {
        "erm": lambda: version.one_epoch(work / "run", *common, "--method", "erm"),
        "erm, pictures cached": lambda: version.one_epoch(work / "run", *common, "--method", "erm", "--cache", cache),
        "clp": lambda: version.one_epoch(work / "run", *common, "--method", "clp"),
    }


def heads(version: Version, work: Path, key: str, root: Path) -> Measures:
    """Return what measures a head's first run, which makes the features, once, and its second one."""
    shard, cache = work / "waterbirds.h5", work / f"head-cache-{key}"
    if not shard.exists():
        version.run(version.tool("augment", *WATERBIRDS, "--root", root, "--out", shard))
    options = ("--meta", shard, "--root", root, "--method", "erm", "--preset", "spurious-background", "--cache", cache)
    cold = version.one_epoch(work / "run", *options)
    return {"first run": lambda: cold, "second run": lambda: version.one_epoch(work / "run", *options)}


def measures_of(row: str, version: Version, work: Path, key: str, root: Path | None) -> Measures:
    """Return the measures of a row for one version."""
    if row == "help":
        return helps(version)
    if row == "floor":
        return floors(version)
    if row == "block":
        return blocks(version, work)
    if row == "epoch":
        return epochs(version, work, key)
    return {} if root is None else heads(version, work, key, root)


def compared(measures: Mapping[str, Measures], rounds: int) -> dict[str, Any]:
    """Return the figures of some versions' measures, by name, taken in turns."""
    names = list(next(iter(measures.values())))
    seconds: dict[str, dict[str, list[float]]] = {name: {key: [] for key in measures} for name in names}
    for _ in range(rounds):
        for name in names:
            for key, of_version in measures.items():
                seconds[name][key].append(of_version[name]())
    return {name: figures(of_name) for name, of_name in seconds.items()}


def figures(seconds: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Return the median and the least seconds of each version, and the ratio of new to old, round by round."""
    found: dict[str, Any] = {
        key: {"median": round(statistics.median(some), 3), "least": round(min(some), 3)}
        for key, some in seconds.items()
    }
    if len(seconds) > 1:
        ratios = [new / old for new, old in zip(seconds["new"], seconds["old"], strict=True)]
        found["new_to_old"] = [round(ratio, 3) for ratio in ratios]
    return found


def main() -> None:
    """Measure the rows that are asked for, and write them beside those that there are."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--old", type=Path, help="a checkout of another version")
    parser.add_argument("--root", type=Path, help="a set in the layout of Waterbirds")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=HERE / "benchmarks" / "results" / "start_speed.json")
    given = parser.parse_args()
    kept = json.loads(given.out.read_text()) if given.out.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        trees = {"new": HERE} | ({} if given.old is None else {"old": given.old.resolve()})
        versions = {key: Version(tree, work / key) for key, tree in trees.items()}
        root = None if given.root is None else given.root.resolve()
        for row in given.rows.split(","):
            measures = {key: measures_of(row, version, work, key, root) for key, version in versions.items()}
            if not measures["new"]:
                continue
            if row not in MADE_BEFORE:
                compared(measures, 1)  # compiles
            kept |= {row: compared(measures, given.rounds), "machine": machine()}
            given.out.write_text(json.dumps(kept, indent=2) + "\n")
            print(row, json.dumps(kept[row]), flush=True)


def machine() -> dict[str, Any]:
    """Return what figures are of."""
    return {
        "cores": os.cpu_count(), "threads": torch.get_num_threads(), "python": platform.python_version(),
        "torch": torch.__version__, "processor": platform.machine(), "repeats_of_help": REPEATS,
    }  # fmt: skip


if __name__ == "__main__":
    main()
