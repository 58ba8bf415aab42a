"""What do ERM and CLP owe to the background on the built-in set? As `make demo` trains them, three seeds.

    python -m experiments.audit.demo_runs --work DIR [--seeds 0 1 2]

Hypothesis (to be refuted): ERM's verdict is strong and its gap near 90 points in every seed, CLP's gap is smaller by
more than the sum of both intervals' halves. Control: ERM on the same shards.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from clp_aug.common.files import written_beside
from experiments.common import runner

FILLS = ["--cf", "tile,random", "--f", "random,mix-rand", "--size", "32"]
AUDIT = ["--audit", "test", "--size", "32", "--remove", "tile", "--limit", "400"]
TRAINING = ["--epochs", "10", "--batch-size", "50"]
METHODS = {
    "erm": [],
    "clp": ["--saliency-interval", "5", "--set", "omega_start=background", "--set", "omega_lr=1e-4"],
}


def figures(run: Path, shard: Path) -> dict:
    """Return what clp-audit prints of a run."""
    command = [Path(sys.executable).parent / "clp-audit", str(run), "--meta", str(shard), "--json", "--quiet"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(printed)["models"][0]


def main() -> None:
    """Train, audit, write; started again it goes on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "demo_runs.json")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    audit, found = arguments.work / "audit.h5", {}
    if not audit.exists():
        runner.command("clp-augment", ["--dataset", "demo", *AUDIT, "--out", str(audit)])
    for seed in arguments.seeds:
        shard = arguments.work / f"demo-{seed}.h5"
        if not shard.exists():
            runner.command("clp-augment", ["--dataset", "demo", *FILLS, "--seed", str(seed), "--out", str(shard)])
        for method, settings in METHODS.items():
            run = arguments.work / f"{method}-{seed}"
            given = ["--meta", str(shard), "--method", method, "--seed", str(seed), *TRAINING, *settings]
            result = runner.train(run, given)
            audited = figures(run, audit)
            kept = {
                name: audited[name] for name in ("verdict", "gap", "cutting", "lowest_class_before_others", "flips")
            }
            worst = (result["selected"] or result["last"])["metrics"]["test"]["worst"]
            found[f"{method}, seed {seed}"] = {"true_worst_group": worst, **kept}
            with written_beside(arguments.out) as temporary:
                temporary.write_text(json.dumps(found, indent=1) + "\n")
            print(
                method, seed, f"worst {worst:.3f}, gap {audited['gap']['value']:.3f}, {audited['verdict']}", flush=True
            )


if __name__ == "__main__":
    main()
