"""All of the network, in stages: can CLP keep what a head on frozen features has, and gain from a body that learns?

    python -m experiments.waterbirds.whole_network --data DIR --work DIR [--seeds 0 1 2] [--rows ROW ...] [--size 160]

Hypotheses, each with the chain of runs that could refute it. A chain's runs start from the weights of the one before:
A. two stages: the body learns with all of the background's delta fixed, then a new head learns by CLP with its share
   moved by the meta step;
B. head first: the head learns on ImageNet's features with the background's delta, then all of the network at a small
   step size with the same, so that the body need not move far (linear probing, then fine-tuning); or then a new head by
   CLP, too;
C, controls: head first with plain cross entropy, and with GroupDRO and UW, which know all groups.

The meta set is 20 pictures of each class that nobody sorted. DIR of --data holds waterbirds_like/. Every run of a chain
is judged at its last epoch and at the one selected by val's worst group; val is for choices, test is read once.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from clp_aug.common.files import written_beside
from experiments.common import runner

HEAD = ["--preset", "spurious-background-learnt"]
BODY = ["--preset", "waterbirds-cpu"]
SMALL = ["--lr", "3e-5", "--set", "head_lr=3e-5", "--epochs", "2"]
NEW_HEAD = ["--method", "clp", *HEAD]


def head_first(method: str) -> list[tuple[str, list[str]]]:
    """Return a chain: the head of a method on ImageNet's features, then all of the network at a small step size."""
    return [("head", ["--method", method, *HEAD]), ("body", ["--method", method, *BODY, *SMALL])]


CHAINS = {
    "head alone": [("head", NEW_HEAD)],
    "A": [("body", ["--method", "background-adjust", *BODY]), ("head", NEW_HEAD)],
    "B": head_first("background-adjust"),
    "B, a new head": [*head_first("background-adjust"), ("new head", NEW_HEAD)],
    "C: GroupDRO": head_first("group-dro"),
    "C: UW": head_first("uw"),
    "C: cross entropy": head_first("erm"),
}


def main() -> None:
    """Make a shard a seed, and go through the chains that are not done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", nargs="+", choices=list(CHAINS), default=list(CHAINS))
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "whole_network.json")
    arguments = parser.parse_args()
    for seed in arguments.seeds:
        for row in arguments.rows:
            go_through(row, seed, arguments)


def go_through(row: str, seed: int, arguments: argparse.Namespace) -> None:
    """Run a chain, each run from the weights of the one before, and write its scores."""
    root = str(arguments.data / "waterbirds_like")
    before: Path | None = None
    for name, settings in CHAINS[row]:
        folder = (
            arguments.work / "runs" / f"{row}-{name}-{arguments.size}-seed{seed}".replace(" ", "_").replace(":", "")
        )
        start = [] if before is None else ["--model", f"efficientnet-lite0@{before}"]
        shard = shard_of(arguments, root, seed)
        cache = ["--cache", str(arguments.work / "cache")]
        found = runner.train(
            folder, ["--meta", str(shard), "--seed", str(seed), "--root", root, *settings, *start, *cache]
        )
        note(arguments.out, row, name, arguments.size, seed, runner.scores(found))
        worst = {split: found["last"]["metrics"][split]["worst"] for split in ("val", "test")}
        print(f"{row}, {name}, seed {seed}: worst {worst} ({found['seconds']:.0f} s)", flush=True)
        before = folder


def shard_of(arguments: argparse.Namespace, root: str, seed: int) -> Path:
    """Return the shard of a seed, made now unless it is there."""
    path = arguments.work / f"confounded-{arguments.size}-seed{seed}.h5"
    if not path.exists():
        runner.command("clp-augment", [
            "--dataset", "waterbirds", "--root", root, "--cf", "tile", "--f", "mix-rand", "--size", str(arguments.size),
            "--meta", "20/class", "--seed", str(seed), "--out", str(path), "--quiet",
        ])  # fmt: skip
    return path


def note(out: Path, row: str, run: str, size: int, seed: int, scores: dict) -> None:
    """Write the scores of one run of a chain into the results."""
    whole = json.loads(out.read_text()) if out.exists() else {"rows": {}}
    whole["rows"].setdefault(f"{row}, {size} px", {}).setdefault(run, {})[str(seed)] = scores
    with written_beside(out) as temporary:
        temporary.write_text(json.dumps(whole, indent=1) + "\n")


if __name__ == "__main__":
    main()
