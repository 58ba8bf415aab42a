"""How fast are tar files in the layout of webdataset listed and read, beside the same pictures in class folders?

    python benchmarks/tar_speed.py [--samples 100000] [--pictures 2000] [--rounds 7] [--out FILE]

Listing: tar files of 1,000 samples, a JPEG of 64 px and its label each, are loaded as a data set: from the headers, and
from the indexes that $CLP_CACHE keeps; Python's tarfile lists the same for comparison, and class folders of as many
files are loaded as well. Reading: pictures of two sizes in random order, bytes alone, and decoded to 224 px, with one
thread. Folders and tars take turns round by round, and every ratio is of one round. All files are in the memory of the
system: a cold disk adds its own time. Seconds are of the processor, so that other programs count little.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import statistics
import sys
import tarfile
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import Image

from clp_aug.datasets import load_dataset
from clp_aug.datasets.base import FileDataset

PER_TAR = 1000
CLASSES = 10
SIZES = {"64 x 64": (64, 64), "500 x 375": (500, 375)}
SIDE = 224


def jpegs(count: int, size: tuple[int, int]) -> list[bytes]:
    """Return some JPEGs (quality 90) of a gradient with noise."""
    rng, (width, height) = np.random.default_rng(0), size
    slope = np.add.outer(np.linspace(0, 120, height), np.linspace(0, 100, width))[..., None] + [0, 10, 20]
    found = []
    for _ in range(count):
        buffer = io.BytesIO()
        noisy = (slope + rng.normal(0, 12, (height, width, 3))).clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(buffer, "JPEG", quality=90)
        found.append(buffer.getvalue())
    return found


def write(root: Path, count: int, size: tuple[int, int]) -> None:
    """Write the same pictures into tars and class folders below a root, in the same order; contents repeat."""
    contents = jpegs(min(count, 200), size)
    (root / "tars").mkdir(parents=True)
    for c in range(CLASSES):
        (root / "folders/train" / f"c{c}").mkdir(parents=True)
    tar = None
    for k in range(count):
        if k % PER_TAR == 0:
            tar = tarfile.open(root / "tars" / f"train-{k // PER_TAR:05d}.tar", "w")  # noqa: SIM115
        data, c = contents[k % len(contents)], k * CLASSES // count
        for name, content in ((f"c{c}/{k:08d}.cls", b"%d" % c), (f"c{c}/{k:08d}.jpg", data)):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        (root / "folders/train" / f"c{c}" / f"{k:08d}.jpg").write_bytes(data)
        if k % PER_TAR == PER_TAR - 1 or k == count - 1:
            tar.close()


def timed(do: Callable[..., Any], *arguments: Any) -> float:
    """Return the processor's seconds that something takes, of all threads."""
    start = time.process_time()
    do(*arguments)
    return time.process_time() - start


def by_tarfile(folder: Path) -> int:
    """List all tars with Python's own module; return how many files there are."""
    count = 0
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path, "r:") as tar:
            count += len(tar.getmembers())
    return count


def listing(root: Path, rounds: int) -> dict[str, Any]:
    """Return seconds and samples a second of loading tars, tars with kept indexes, folders; and of tarfile."""
    tars, count, kept = root / "tars", 0, root / "kept"
    load = lambda: load_dataset("wds:train-*.tar", tars)  # noqa: E731
    ways: dict[str, Callable[[], Any]] = {
        "headers": load, "class folders": lambda: load_dataset("folder", root / "folders"),
        "tarfile": lambda: by_tarfile(tars),
    }  # fmt: skip
    seconds: dict[str, list[float]] = {name: [] for name in (*ways, "kept indexes")}
    for _ in range(rounds):
        for name, do in ways.items():
            seconds[name].append(timed(do))
        os.environ["CLP_CACHE"] = str(kept)
        load()
        seconds["kept indexes"].append(timed(load))
        del os.environ["CLP_CACHE"]
    tracemalloc.start()
    dataset = load()
    bytes_kept, bytes_most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    count = len(dataset.samples.name)
    return {
        "samples": count,
        "seconds": {name: round(statistics.median(times), 3) for name, times in seconds.items()},
        "samples_per_second": {name: round(count / statistics.median(times)) for name, times in seconds.items()},
        "bytes_a_sample": {"kept": round(bytes_kept / count), "at_most": round(bytes_most / count)},
        "bytes_on_disk_of_kept_indexes_a_sample": round(sum(f.stat().st_size for f in kept.rglob("*.json")) / count),
    }


def bytes_alone(dataset: FileDataset, rows: list[int]) -> None:
    """Read the files of some rows."""
    for row in rows:
        dataset._bytes(dataset.path_of(row), row)


def decoded(dataset: FileDataset, rows: list[int]) -> None:
    """Read, decode and resize the pictures of some rows."""
    for row in rows:
        dataset.image(row, SIDE)


def reading(root: Path, rounds: int) -> dict[str, Any]:
    """Return pictures a second of both sources, and the ratio of tars to folders, a median over rounds."""
    tars, folders = load_dataset("wds:train-*.tar", root / "tars"), load_dataset("folder", root / "folders")
    rows = np.random.default_rng(0).permutation(len(tars.samples.name)).tolist()
    found = {}
    for name, do in (("bytes", bytes_alone), ("decoded", decoded)):
        pairs = []
        for k in range(rounds + 1):
            both = [("tars", tars), ("folders", folders)][:: 1 if k % 2 else -1]
            pairs.append({source: len(rows) / timed(do, data, rows) for source, data in both})
        pairs = pairs[1:]  # the first warms up
        found[name] = {
            source: round(statistics.median(pair[source] for pair in pairs)) for source in ("tars", "folders")
        } | {"ratio": round(statistics.median(pair["tars"] / pair["folders"] for pair in pairs), 3)}
    return found


def main() -> None:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--pictures", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/tar_speed.json"))
    options = parser.parse_args()
    os.environ.pop("CLP_CACHE", None)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write(root / "many", options.samples, SIZES["64 x 64"])
        result: dict[str, Any] = {"listing": listing(root / "many", options.rounds), "reading": {}}
        for name, size in SIZES.items():
            write(root / name, options.pictures, size)
            result["reading"][name] = reading(root / name, options.rounds)
    result["made_with"] = {
        "command": " ".join(["python", "benchmarks/tar_speed.py", *sys.argv[1:]]), "rounds": options.rounds,
        "pictures_a_round": options.pictures, "seconds": "of the processor", "machine": platform.machine(),
        "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1), "python": platform.python_version(),
        "pillow": PIL.__version__,
    }  # fmt: skip
    text = json.dumps(result, indent=1)
    print(text)
    options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
