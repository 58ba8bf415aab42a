"""Do settings that were chosen on waterbirds_like hold where none was chosen? Ten methods on fresh sets.

    python -m experiments.fresh.fresh --data DIR --work DIR [--seeds 0 1 2] [--rows erm clp ...] [--size 160]
        [--sets pets breeds cutouts-99 two two-breeds]

Hypothesis (to be refuted): with preset spurious-background as it is, CLP from 20 meta pictures a class, which nobody
has sorted by groups, has a better worst group on test than ERM on each set, and a smaller audit gap; where it has not,
the preset is fitted to waterbirds_like. Rows without a meta step (background-adjust, afr, jtt) say what that is worth.
Controls that know the group of each training picture: uw, group-dro. All rows select their epoch by val's worst group.

`make_sets` says what the sets are; they are made in WORK of the packed pictures in DIR. A seed is a meta set and a
start. Each set has a result of its own, written after every run, so that a run that is there is not made again: after
a change of the preset take a new WORK. Rows of methods that are not known, or that refuse these settings, are passed
over with a line.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from clp_aug.common.files import written_beside
from clp_aug.contract.shards import ShardReader
from clp_train.auditing.figures import measure
from clp_train.auditing.verdict import verdict_of
from clp_train.auditing.views import read_audit_set
from clp_train.methods import METHODS
from clp_train.predicting.trained import load_classifier
from experiments.audit.heads import answers_by_head, features
from experiments.common import runner
from experiments.fresh.make_sets import KINDS, make

PRESET = "spurious-background"
ROWS = ("erm", "meta-lp", "clp", "background-adjust", "uw", "group-dro", "afr", "jtt", "dfr", "dac")
DEFAULT_SETS = ("pets", "breeds", "cutouts-99", "two", "two-breeds")
SHARD = ("--cf", "tile", "--f", "mix-rand", "--meta", "20/class")
REFUSED = 2  # exit code of clp-train for settings that a method does not take
SIZE = 160


def arguments_of_run(method: str, root: str, cache: str) -> list[str]:
    """Return the arguments of one row."""
    return ["--root", root, "--preset", PRESET, "--cache", cache, "--method", method]


def shard_of(path: Path, root: Path, size: int, options: list[str]) -> Path:
    """Return a shard of a set, made now unless it is there."""
    if not path.exists():
        given = ["--dataset", "table", "--root", str(root), "--size", str(size), *options]
        runner.command("clp-augment", [*given, "--out", str(path), "--quiet"])
    return path


def audit_of(folder: Path, shard: Path) -> dict[str, Any]:
    """Return what an audit on test says of a run's classifier, that of the selected epoch where there is one."""
    reader, classifier = ShardReader(shard), load_classifier(folder)
    audit_set, rows = read_audit_set(reader), np.arange(len(reader))
    of_rows = features(reader, classifier.network, rows, shard.with_suffix(".safetensors"))
    given = answers_by_head(classifier, of_rows, np.asarray(reader.tables["meta/label"]))
    figures = measure(audit_set, given, np.ones(len(audit_set.class_names), bool))
    gap = figures.gap
    return {"gap": [gap.value, gap.low, gap.high], "verdict": verdict_of(figures, audit_set).word}


def scores(result: dict[str, Any]) -> dict[str, Any]:
    """Return what a table needs of a result: `runner.scores`, the method's own settings as the preset had them then,
    accuracies a class, and the share of the background.
    """
    found = runner.scores(result) | {"options": result["config"].get("options", {})}
    for when in ("last", "selected"):
        metrics = (result[when] or {"metrics": {}})["metrics"]
        for split, of_split in metrics.items():
            present = [accuracy for accuracy in of_split["per_class"] if accuracy is not None]
            found[when][split] |= {"per_class": of_split["per_class"], "worst_class": min(present)}
    shares = [epoch["background_share"] for epoch in result["history"] if "background_share" in epoch]
    return found | ({"background_share": shares[-1]} if shares else {})


def run_set(name: str, arguments: argparse.Namespace) -> None:
    """Make one set, train its rows for every seed, audit them, and write what was found after each."""
    size, title = arguments.size, f"{name}-{arguments.size}"
    root = make(name, arguments.data, arguments.work / "sets" / title, size, 0)
    audit = shard_of(arguments.work / f"{title}-audit.h5", root, size, ["--audit", "test"])
    out = arguments.out / (f"{name}.json" if size == SIZE else f"{title}.json")
    whole = json.loads(out.read_text()) if out.exists() else {"preset": PRESET, "size": size, "shard": [*SHARD]}
    for seed in arguments.seeds:
        shard = shard_of(arguments.work / f"{title}-seed{seed}.h5", root, size, [*SHARD, "--seed", str(seed)])
        for method in arguments.rows:
            if method not in METHODS:
                print(f"{name}, {method}: no such method yet; passed over", flush=True)
                continue
            folder = arguments.work / "runs" / title / f"{method}-seed{seed}"
            given = arguments_of_run(method, str(root), str(arguments.work / "cache"))
            try:
                result = runner.train(folder, ["--meta", str(shard), "--seed", str(seed), *given])
            except subprocess.CalledProcessError as error:
                if error.returncode != REFUSED:
                    raise
                print(f"{name}, {method}, seed {seed}: refused, see above; passed over", flush=True)
                continue
            found = scores(result) | {"audit": audit_of(folder, audit)}
            whole |= {"versions": result["versions"], "fingerprint": result["fingerprint"]}
            whole["group_names"] = result["group_names"]
            whole.setdefault("rows", {}).setdefault(method, {})[str(seed)] = found
            with written_beside(out) as temporary:
                temporary.write_text(json.dumps(whole, indent=1) + "\n")
            print(f"{name}, {method}, seed {seed}: {told(found)}", flush=True)


def told(found: dict[str, Any]) -> str:
    """Return one line of a run's scores on test."""
    parts = [
        f"{when}: worst group {100 * test['worst']:.1f}, average {100 * test['average']:.1f}"
        for when in ("last", "selected")
        if (test := found[when].get("test"))
    ]
    parts.append(f"audit gap {100 * found['audit']['gap'][0]:.1f}")
    if "background_share" in found:
        parts.append(f"share {found['background_share']:.2f}")
    return "; ".join([*parts, f"{found['seconds']:.0f} s"])


def main() -> None:
    """Run every set that is chosen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--sets", nargs="+", choices=list(KINDS), default=list(DEFAULT_SETS))
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--size", type=int, default=SIZE)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.work / "runs").mkdir(parents=True, exist_ok=True)
    for name in arguments.sets:
        run_set(name, arguments)


if __name__ == "__main__":
    main()
