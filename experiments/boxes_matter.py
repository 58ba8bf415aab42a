"""Does the quality of the boxes reach the worst group? CLP on waterbirds_like with boxes from four mattes.

    python experiments/boxes_matter.py --data DIR --work DIR [--seeds 0 1 2]

Hypothesis (to be refuted): with worse boxes, counterfactuals that keep part of the bird and factuals that lose part of
it, the worst group of CLP is worse. Everything but the boxes is as in the probe of waterbirds_like.py: preset
waterbirds-probe, 160 px, tile and random. ERM sees no box: one row.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import runner

PRESET, SIZE = "waterbirds-probe", 160


def main() -> None:
    """Make a shard a matte and seed, train CLP on each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    (arguments.work / "runs").mkdir(parents=True, exist_ok=True)
    root = str(arguments.data / "waterbirds_like")
    mattes = {"given": "given", "hatt": "hatt", "u2netp": f"onnx:{arguments.data / 'u2netp.onnx'}", "centre": "centre"}
    rows = {"erm": "given", **{f"clp, boxes by {name}": name for name in mattes}}

    def shard_of(seed: int, row: str) -> Path:
        name = rows[row]
        path = arguments.work / f"waterbirds-{name}-seed{seed}.h5"
        if not path.exists():
            runner.command("clp-augment", [
                "--dataset", "waterbirds", "--root", root, "--matte", mattes[name], "--cf", "tile", "--f", "random",
                "--size", str(SIZE), "--seed", str(seed), "--out", str(path), "--quiet",
            ])  # fmt: skip
        return path

    runs = {row: ["--root", root, "--preset", PRESET, "--method", row.partition(",")[0]] for row in rows}
    out = arguments.out / "boxes_matter.json"
    runner.table(runs, arguments.seeds, shard_of, arguments.work / "runs", out, {"preset": PRESET})


if __name__ == "__main__":
    main()
