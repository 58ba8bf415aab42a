"""Does eq. (9) as written collapse on a long tail? Every method of the first table on a cut of CIFAR-10-LT 100:1.

    python -m experiments.long_tail.cifar_lt --data DIR --work DIR [--seeds 0 1 2]

Hypothesis (to be refuted): with delta on the meta logits, as eqs. (7) and (9) are written, Omega lowers the meta loss
by writing the answer into delta; without it, Meta-LP beats cross entropy. DIR of --data holds cifar10_jpeg.h5. The cut:
2,000 pictures in the largest class in place of 5,000, 100 val pictures a class out of the training pictures that no run
learns from, all 10,000 test pictures; ResNet-8, 20 epochs, batches of 100. Meta set: 10 a class; boxes: the centred
ones, for mattes of 32 px are poor. A seed is a long tail, a meta set and a start.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import h5py

from experiments.common import runner

LARGEST, VAL = 2000, 100
SHORT = ["--model", "resnet8", "--epochs", "20", "--batch-size", "100"]
PAPER = ["--meta-delta", "paper"]
SPARSE = ["--saliency-interval", "5"]
RUNS = {
    "erm": ["--method", "erm"],
    "logit-adjust": ["--method", "logit-adjust"],
    "mwn": ["--method", "mwn"],
    "meta-lp, meta delta none": ["--method", "meta-lp"],
    "meta-lp, meta delta paper": ["--method", "meta-lp", *PAPER],
    "clp, meta delta none": ["--method", "clp", *SPARSE],
    "clp, meta delta paper": ["--method", "clp", *PAPER, *SPARSE],
    "meta-lp, log prior, omega lr 1e-4": [
        "--method", "meta-lp", "--omega-lr", "1e-4", "--set", "omega_start=log-prior",
    ],
}  # fmt: skip


def unpack(container: Path, out: Path, val: int = VAL, test: bool = True) -> None:
    """Write the cut as a folder data set: train, val (so many a class) and test, a folder a class."""
    with h5py.File(container) as file:
        data, offset = file["bytes"], file["offset"][:]
        classes, seen = json.loads(file.attrs["classes"]), {}
        for i, (label, is_test) in enumerate(zip(file["label"][:], file["is_test"][:], strict=True)):
            k = seen[label] = seen.get(label, -1) + (not is_test)
            split = "test" if is_test else "train" if k < LARGEST else "val" if k < LARGEST + val else None
            if split and (test or not is_test):
                path = out / split / classes[label] / f"{i:05d}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data[offset[i] : offset[i + 1]].tobytes())


def runs_of(root: str) -> dict[str, list[str]]:
    """Return the arguments of each row."""
    return {name: ["--root", root, *SHORT, *settings] for name, settings in RUNS.items()}


def main() -> None:
    """Unpack, make a shard a seed, train every row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "cifar_lt.json")
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    pictures = arguments.work / "cifar10-cut"
    if not pictures.exists():
        unpack(arguments.data / "cifar10_jpeg.h5", arguments.work / "unpacking")
        (arguments.work / "unpacking").rename(pictures)

    def shard_of(seed: int, _row: str) -> Path:
        path = arguments.work / f"cifar10-lt100-seed{seed}.h5"
        if not path.exists():
            runner.command("clp-augment", [
                "--dataset", "folder", "--root", str(pictures), "--imbalance", "100", "--meta", "10/class",
                "--cf", "tile", "--f", "random", "--matte", "centre", "--seed", str(seed), "--out", str(path),
                "--quiet",
            ])  # fmt: skip
        return path

    about = {"cut": "2,000 pictures in the largest class, ResNet-8, 20 epochs; 10 meta pictures a class"}
    runner.table(runs_of(str(pictures)), arguments.seeds, shard_of, arguments.work / "runs", arguments.out, about)


if __name__ == "__main__":
    main()
