"""Does the quality of the boxes reach the worst group? CLP on waterbirds_like with boxes from four mattes.

    python -m experiments.boxes.boxes_matter --data DIR --work DIR [--seeds 0 1 2]

Hypothesis (to be refuted): with worse boxes, counterfactuals that keep part of the bird and factuals that lose part of
it, the worst group of CLP is worse. Everything but the boxes is as in the probe of waterbirds/waterbirds_like.py:
preset waterbirds-probe, 160 px, tile and random. ERM sees no box: one row. A matte looks at every picture once, for the
first seed; the others have its boxes as a table.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import h5py

from clp_aug.common.files import written_beside
from clp_aug.contract.schema import ORIGINAL
from clp_aug.datasets import load_dataset
from experiments.common import runner

PRESET, SIZE = "waterbirds-probe", 160
CLP = ["--method", "clp", "--set", "omega_start=zero"]
MATTES = ("given", "hatt", "u2netp", "centre")
ROWS = {"erm": "given", **{f"clp, boxes by {name}": name for name in MATTES}}
"""Row -> the matte that its boxes come from."""


def write_boxes(shard: Path, root: str, out: Path) -> None:
    """Write the boxes of all training pictures and meta originals of a shard as a table for --boxes."""
    samples = load_dataset("waterbirds", root).samples
    name_of = dict(zip(samples.sample_id.tolist(), samples.name, strict=True))
    with h5py.File(shard) as file:
        first = file["meta/kind"][...] == ORIGINAL
        ids = [*file["train/sample_id"][...].tolist(), *file["meta/sample_id"][...][first].tolist()]
        boxes = [*file["train/box"][...].tolist(), *file["meta/box"][...][first].tolist()]
    with written_beside(out) as temporary, open(temporary, "w", newline="") as table:
        csv.writer(table).writerow(["file", "x0", "y0", "x1", "y1"])
        csv.writer(table).writerows([name_of[i], *box] for i, box in zip(ids, boxes, strict=True))


def runs_of(root: str) -> dict[str, list[str]]:
    """Return the arguments of each row."""
    return {row: ["--root", root, "--preset", PRESET, *(["--method", "erm"] if row == "erm" else CLP)] for row in ROWS}


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
    mattes = {name: name for name in MATTES} | {"u2netp": f"onnx:{arguments.data / 'u2netp.onnx'}"}

    def shard_of(seed: int, row: str) -> Path:
        name = ROWS[row]
        path, boxes = arguments.work / f"waterbirds-{name}-seed{seed}.h5", arguments.work / f"boxes-{name}.csv"
        if not path.exists():
            given = ["--boxes", str(boxes)] if boxes.exists() else ["--matte", mattes[name], "--workers", "2"]
            runner.command("clp-augment", [
                "--dataset", "waterbirds", "--root", root, *given, "--cf", "tile", "--f", "random",
                "--size", str(SIZE), "--seed", str(seed), "--out", str(path), "--quiet", "--resume",
            ])  # fmt: skip
        if not boxes.exists():
            write_boxes(path, root, boxes)
        return path

    out = arguments.out / "boxes_matter.json"
    runner.table(runs_of(root), arguments.seeds, shard_of, arguments.work / "runs", out, {"preset": PRESET})


if __name__ == "__main__":
    main()
