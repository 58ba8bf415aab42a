"""Does CLP lift the worst group of waterbirds_like? EfficientNet-Lite0, its last layer alone and the whole network.

    python -m experiments.waterbirds.waterbirds_like --data DIR --work DIR [--seeds 0 1 2] [--parts probe tuned]

Hypothesis (to be refuted): CLP, from 40 meta pictures and their counterfactuals (tile) and factuals (random), reaches
a better worst group than ERM, which knows none, and than Meta-LP, which knows the originals alone. DIR of --data
holds waterbirds_like/ with its masks. Controls: group weights and group sampling, which know the group of each
training picture, and the meta originals alone. Settings are those of the presets waterbirds-probe (160 px) and
waterbirds-cpu (96 px), chosen on val, with delta from zero. A seed is a meta set and a start.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from experiments.common import runner

ZERO = ["--set", "omega_start=zero"]
PAPER = ["--meta-delta", "paper", *ZERO]
PROBE = {
    "erm": ["--method", "erm"],
    "logit-adjust": ["--method", "logit-adjust"],
    "mwn": ["--method", "mwn"],
    "meta-lp": ["--method", "meta-lp"],
    "clp": ["--method", "clp", *ZERO],
    "meta-lp, meta delta paper": ["--method", "meta-lp", *PAPER],
    "clp, meta delta paper": ["--method", "clp", *PAPER],
    "control: group weights": ["--method", "group-weight"],
    "control: meta originals alone": ["--method", "meta-only"],
}
TUNED = {
    "erm": ["--method", "erm"],
    "meta-lp": ["--method", "meta-lp"],
    "clp": ["--method", "clp", *ZERO],
    "control: group sampling": ["--method", "group-sample"],
}
PARTS = {"probe": (PROBE, "waterbirds-probe", 160), "tuned": (TUNED, "waterbirds-cpu", 96)}


def runs_of(part: str, root: str) -> dict[str, list[str]]:
    """Return the arguments of each row of a part."""
    rows, preset, _ = PARTS[part]
    return {name: ["--root", root, "--preset", preset, *settings] for name, settings in rows.items()}


def main() -> None:
    """Make a shard a seed and size, train every row of each part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.work / "runs").mkdir(parents=True, exist_ok=True)
    root = str(arguments.data / "waterbirds_like")

    for part in arguments.parts:
        _, preset, size = PARTS[part]

        def shard_of(seed: int, _row: str, size: int = size) -> Path:
            path = arguments.work / f"waterbirds-{size}-seed{seed}.h5"
            if not path.exists():
                runner.command("clp-augment", [
                    "--dataset", "waterbirds", "--root", root, "--cf", "tile", "--f", "random", "--size", str(size),
                    "--seed", str(seed), "--out", str(path), "--quiet",
                ])  # fmt: skip
            return path

        runs = runs_of(part, root)
        out = arguments.out / f"waterbirds_like_{part}.json"
        runner.table(runs, arguments.seeds, shard_of, arguments.work / "runs" / part, out, {"preset": preset})


if __name__ == "__main__":
    main()
