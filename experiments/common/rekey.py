"""Give recorded runs the names that today's code plans for them, after a change that is proven to change no byte.

    python -m experiments.common.rekey OLD_TREE --dry-run
    python -m experiments.common.rekey OLD_TREE

A run is named by a digest of its settings and of the code it reaches, so another digest, or a change that keeps every
byte but is no pure move, makes recorded runs look new. OLD_TREE is a checkout of the code that they are named by. Every
table.json below --results is planned by both; a result that has the old plan's name gets the new plan's. Others are
stale: the old code would not have known them either, and they are left alone. Give it only where runs of both trees,
one of each method that is touched, were compared byte by byte.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from clp_aug.common.files import written_beside
from clp_aug.contract.errors import ClpError, InputError

HERE = Path(__file__).parents[2]
TABLE = "table.json"
KEPT, RENAMED, STALE, GONE = "kept", "renamed", "stale", "gone"
"""What becomes of a result; gone: the old plan knows it, and today's has no such run."""
TEXTS = (".md", ".csv", ".html", ".svg")  # what may name a run beside the table
PLACES = {
    "plan": ("clp_train.bench.jobs",),
    "names": ("clp_train.bench.spec",),
    "read_table": ("clp_train.bench.spec",),
}
"""Where a tree, of today or an older one, may have what is asked for: the first module that it has counts."""
PLAN = """
import importlib, json, sys
from importlib.util import find_spec
from pathlib import Path
asked, places = json.load(sys.stdin)
def found(name):
    return getattr(importlib.import_module(next(place for place in places[name] if find_spec(place))), name)
runs = []
for table, scale, seeds in asked:
    if table in found("names")():
        for run in found("plan")(found("read_table")(table), scale, seeds, Path()):
            place = [table, scale, run.row, run.column, run.seed, run.protocol]
            runs.append([place, run.folder.name, run.arguments, run.shard.arguments])
ours = [module.__file__ for name, module in sys.modules.items() if name.startswith(("clp_train", "clp_aug"))]
if not all(file is None or Path(file).is_relative_to(Path.cwd()) for file in ours):
    sys.exit("it lacks modules, which another installed copy has")
print(json.dumps(runs))
"""
"""What each tree is asked, in a process of its own."""


class Planned(NamedTuple):
    """A run as a tree plans it: its name, and the arguments of clp-train and clp-augment."""

    name: str
    train: list[str]
    augment: list[str]


def planned(tree: Path, asked: Sequence) -> dict[tuple, Planned]:
    """Return (table, scale, row, column, seed, protocol) -> the run, as the code of a tree plans it.

    asked: (table, scale, seeds) of each table. Raises InputError where that code fails.
    """
    done = subprocess.run(
        [sys.executable, "-c", PLAN], input=json.dumps([asked, PLACES]), capture_output=True, text=True, cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree)},
    )  # fmt: skip
    if done.returncode:
        raise InputError(
            f"{tree}: cannot plan ({done.stderr.strip().splitlines()[-1]}); give a checkout of this project"
        )
    return {tuple(place): Planned(*run) for place, *run in json.loads(done.stdout)}


def asked_of(whole: Mapping) -> tuple[str, str, list[int]]:
    """Return what a table.json is planned by: its table, scale and seeds."""
    return whole["table"], whole["scale"], sorted({result["seed"] for result in whole["runs"]})


def place_of(whole: Mapping, result: Mapping) -> tuple:
    """Return what a result of a table.json stands for, as `planned` names it."""
    there = (result["row"], result["column"], result["seed"], result["protocol"])
    return whole["table"], whole["scale"], *there


def rekeyed(whole: dict, old: Mapping[tuple, Planned], new: Mapping[tuple, Planned]) -> tuple[Counter, dict[str, str]]:
    """Rename the runs of a table.json in place, with the arguments of today's plan; return what became of how many, and
    old name -> new name.
    """
    count: Counter = Counter()
    names = {}
    for result in whole["runs"]:
        place, name = place_of(whole, result), result["run"]
        if place not in old or old[place].name != name:
            count[STALE] += 1
        elif place not in new:
            count[GONE] += 1
        else:
            count[KEPT if new[place].name == name else RENAMED] += 1
            names[name] = result["run"] = new[place].name
            result["train"], result["augment"] = new[place].train, new[place].augment
    return count, names


def write(path: Path, text: str) -> None:
    """Write a file, complete or not at all."""
    with written_beside(path) as temporary:
        temporary.write_text(text, "utf-8")


def mend(folder: Path, names: Mapping[str, str]) -> None:
    """Rename runs in the texts beside a table.json, where any stands."""
    for path in (path for path in folder.iterdir() if path.suffix in TEXTS):
        text = path.read_text("utf-8")
        mended = re.sub(r"[\w.-]+-seed\d+-[0-9a-f]{12}", lambda found: names.get(found[0], found[0]), text)
        if mended != text:
            write(path, mended)


def rekey(old_tree: Path, results: Path, dry_run: bool = False) -> dict[Path, Counter]:
    """Rename the runs of all tables of a folder; return table.json -> what became of its results.

    Raises InputError for a tree that cannot plan, and where the disk refuses.
    """
    tables = {path: json.loads(path.read_text("utf-8")) for path in sorted(results.glob(f"*/{TABLE}"))}
    asked = [asked_of(whole) for whole in tables.values()]
    old, new = planned(old_tree.resolve(), asked), planned(HERE, asked)
    counts = {}
    for path, whole in tables.items():
        counts[path], names = rekeyed(whole, old, new)
        if counts[path][RENAMED] and not dry_run:
            write(path, json.dumps(whole, indent=1) + "\n")
            mend(path.parent, names)
    return counts


def main() -> None:
    """Rename recorded runs, and say of each table how many."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old_tree", type=Path, help="Checkout of the code that the runs are named by.")
    parser.add_argument("--results", type=Path, default=Path("results"), help="Folder of finished tables.")
    parser.add_argument("--dry-run", action="store_true", help="Say what would be renamed.")
    arguments = parser.parse_args()
    try:
        counts = rekey(arguments.old_tree, arguments.results, arguments.dry_run)
    except ClpError as error:
        sys.exit(f"error: {error}")
    for path, count in (*counts.items(), ("all", sum(counts.values(), Counter()))):
        print(f"{path}: " + ", ".join(f"{count[what]} {what}" for what in (KEPT, RENAMED, STALE, GONE)))


if __name__ == "__main__":
    main()
