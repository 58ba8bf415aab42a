"""Write packed pictures as the folders that `clp-fit inpainter --data` reads, with a part held out.

    python -m experiments.inpainting.unpack_inpainting --data DIR --out DIR

DIR of --data holds cifar10_jpeg.h5, tiny_imagenet100.h5, landscapes150.h5 and waterbirds_like/; OUT gets train/ and
held-out/, each with cifar10_jpeg/, tiny_imagenet100/ and landscapes150/.

Held out are the test pictures of CIFAR-10, the validation pictures of tiny_imagenet100, and of the landscapes those
marked as test and those that stand behind a bird in val or test of waterbirds_like.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np

from clp_aug.contract.errors import UsageError
from experiments.common.packed import HELD_OUT, TRAIN, Packed, places_behind_tests, suffix

CIFAR, TINY, LANDSCAPES = "cifar10_jpeg", "tiny_imagenet100", "landscapes150"


def held_out(name: str, packed: Packed, data: Path) -> np.ndarray:
    """Return which pictures of a container are not for fitting, bool (n,)."""
    if name == CIFAR:
        return packed.columns["is_test"].astype(bool)
    if name == TINY:
        return packed.columns["is_val"].astype(bool)
    return packed.columns["is_test"].astype(bool) | places_behind_tests(packed, data / "waterbirds_like")


def unpack(data: Path, out: Path) -> dict[str, int]:
    """Write all pictures and count them by part and set; the folder appears when it is complete.

    Raises UsageError when it exists already.
    """
    if out.exists():
        raise UsageError(f"{out}: exists already; give a new folder or remove it")
    beside_out = out.with_name(f"{out.name}.tmp-{os.getpid()}")
    counts = {}
    for name in (CIFAR, TINY, LANDSCAPES):
        packed = Packed(data / f"{name}.h5")
        kept_back = held_out(name, packed, data)
        for part in (TRAIN, HELD_OUT):
            folder = beside_out / part / name
            folder.mkdir(parents=True)
            rows = np.flatnonzero(kept_back == (part == HELD_OUT))
            counts[f"{part}/{name}"] = len(rows)
            for row in rows:
                encoded = packed.bytes_of(row)
                (folder / f"{row:05d}{suffix(encoded)}").write_bytes(encoded)
    os.replace(beside_out, out)
    return counts


def main() -> None:
    """Unpack, then say how many pictures lie where."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    for where, count in unpack(arguments.data, arguments.out).items():
        print(f"{arguments.out / where}: {count} pictures")


if __name__ == "__main__":
    main()
