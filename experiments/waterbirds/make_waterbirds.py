"""Make a set in the layout of Waterbirds of packed birds and landscapes, as one makes it of CUB and Places.

    python -m experiments.waterbirds.make_waterbirds --data DIR --work DIR [--per-bird 4] [--size 160] [--seed 0]

DIR of --data holds birds.h5 (photographs, matted by hatt), alpha_cutouts.h5 (of which the birds are taken) and
landscapes150.h5. WORK gets birds/landbird/, birds/waterbird/, land/, water/ and, made of them by `clp-data
waterbirds`, set/. What comes then is what comes for the published set:

    clp-augment --dataset waterbirds --root WORK/set --cf tile --f random
    clp-train --meta SHARD --root WORK/set --preset waterbirds-cpu
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from clp_aug.contract.errors import UsageError
from clp_aug.datasets.waterbirds import CLASSES, PLACES
from experiments.common import runner
from experiments.common.packed import Packed

SOURCES = {"birds": "waterbird", "alpha_cutouts": "waterbird", "landscapes150": "is_water"}
"""Container -> the column that tells 0 or 1; -1 is neither."""


def unpack(data: Path, work: Path) -> dict[str, int]:
    """Write every bird and landscape below the folder that tells its class or place; return their counts by folder.

    Raises UsageError when a folder is there already.
    """
    counts: dict[str, int] = {}
    for source, column in SOURCES.items():
        packed = Packed(data / f"{source}.h5")
        for row in np.flatnonzero(packed.columns[column] >= 0):
            value = int(packed.columns[column][row])
            parent = PLACES[value] if source == "landscapes150" else f"birds/{CLASSES[value]}"
            path = work / parent / source / packed.names[row]
            if path.exists():
                raise UsageError(f"{path}: exists already; give a new --work or remove it")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(packed.bytes_of(row))
            counts[parent] = counts.get(parent, 0) + 1
    return counts


def main() -> None:
    """Unpack, then make the set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--per-bird", type=int, default=4)
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for where, count in unpack(arguments.data, arguments.work).items():
        print(f"{arguments.work / where}: {count} pictures")
    work = arguments.work
    runner.command("clp-data", [
        "waterbirds", "--birds", str(work / "birds"), "--matte", "hatt", "--land", str(work / "land"),
        "--water", str(work / "water"), "--out", str(work / "set"), "--shares", "60,15,25",
        "--per-bird", str(arguments.per_bird), "--size", str(arguments.size), "--seed", str(arguments.seed),
    ])  # fmt: skip
    print(f"{work / 'set'}; next: clp-augment --dataset waterbirds --root {work / 'set'} --cf tile --f random")


if __name__ == "__main__":
    main()
