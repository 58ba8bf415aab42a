"""How fast is clp-augment beside the least that it must do: decode the JPEGs and write the HDF5?

    python benchmarks/augment_speed.py [--pictures 6000] [--sizes 32,160] [--out benchmarks/results/augment_speed.json]

Every picture is a meta picture with one counterfactual and one factual (all quick fills mixed), so that the shard
has three rows a picture. The limit decodes the same files once and writes as many rows with h5py, one chunk a picture.
Memory is the peak of a fresh process at 1,000 and at 10,000 pictures. The limit is one process and one thread; the
whole is measured so, and with two workers. The figure to look at is the ratio, taken in one run. Aim: the whole
reaches 60 % of the limit at 32 and at 160 px.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import platform
import re
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import cv2
import h5py
import numpy as np
from PIL import Image

from clp_aug import pipeline
from clp_aug.config import AugmentConfig
from clp_aug.contract.images import read_rgb
from clp_aug.contract.shards import ShardReader
from clp_aug.datasets import load_dataset

CF, F = ("grey", "random", "shuffle", "tile"), ("shuffle", "random", "mix-rand")


def make_folder(root: Path, pictures: int, size: int) -> None:
    """Write JPEGs (quality 90) of the demo set at the given size, and a table of boxes."""
    demo, rows = load_dataset("demo"), ["file,x0,y0,x1,y1"]
    for i in range(pictures):
        row = i % len(demo.samples.label)
        name = f"train/class{i % 2}/{i:06d}.jpg"
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        file = io.BytesIO()
        Image.fromarray(demo.image(row, size)).save(file, "JPEG", quality=90)
        (root / name).write_bytes(file.getvalue())
        ys, xs = np.nonzero(demo.alpha(row, size) >= 0.5)
        rows.append(f"{name},{xs.min()},{ys.min()},{xs.max() + 1},{ys.max() + 1}")
    (root / "boxes.csv").write_text("\n".join(rows) + "\n")


def config_for(root: Path, pictures: int, size: int) -> AugmentConfig:
    """Every picture but two a class is a meta picture."""
    return AugmentConfig(
        dataset="folder", root=root, cf=CF, f=F, meta=f"{pictures // 2 - 2}/class", size=size, matte="given",
        out=root / "bench.h5", overwrite=True,
    )  # fmt: skip


def limit_seconds(root: Path, shard: Path) -> tuple[float, float]:
    """Return the seconds to decode every meta original once, and to write the shard's rows again."""
    reader, data = ShardReader(shard), load_dataset("folder", root)
    originals = data.rows_of(reader.tables["look/sample_id"])
    start = time.perf_counter()
    for row in originals:
        name = data.samples.name[row]
        read_rgb((root / name).read_bytes(), name)
    decoded = time.perf_counter()
    images, mattes = reader.images(), np.stack([reader.matte(i) for i in range(len(originals))])
    loaded = time.perf_counter()
    for name, pictures in {"images": images, "mattes": mattes}.items():
        with h5py.File(root / f"{name}.h5", "w", libver=("v110", "v110")) as file:
            chunks = (1, *pictures.shape[1:])
            data = file.create_dataset("x", pictures.shape, "u1", chunks=chunks, fletcher32=True)
            for i, picture in enumerate(pictures):
                data[i] = picture
    return decoded - start, time.perf_counter() - loaded


def measure(pictures: int, size: int) -> dict:
    """Return seconds of each stage, of the whole and of the limit, and their rates in pictures a second."""
    stages: dict[str, float] = {}

    @contextmanager
    def clock(stage: str, total: int):
        start = time.perf_counter()
        yield lambda done: None
        stages[stage] = time.perf_counter() - start

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_folder(root, pictures, size)
        best: dict = {}
        for _ in range(3):  # the best of three: the machine may be shared
            stages.clear()
            start = time.perf_counter()
            outcome = pipeline.augment(config_for(root, pictures, size), clock)
            whole = time.perf_counter() - start
            decode, write = limit_seconds(root, outcome.path)
            start = time.perf_counter()
            pipeline.augment(dataclasses.replace(config_for(root, pictures, size), workers=2))
            two = time.perf_counter() - start
            once = {"whole": whole, "whole, 2 workers": two, "decode": decode, "write": write, **stages}
            best = {name: min(seconds, best.get(name, seconds)) for name, seconds in once.items()}
    originals = outcome.rows // 3
    return {
        "size": size,
        "originals": originals,
        "rows": outcome.rows,
        "seconds": {name: round(seconds, 3) for name, seconds in best.items()},
        "pictures_per_second": {name: round(originals / seconds) for name, seconds in best.items()},
        "whole_over_limit": round((best["decode"] + best["write"]) / best["whole"], 3),
        "whole_over_limit, 2 workers": round((best["decode"] + best["write"]) / best["whole, 2 workers"], 3),
    }


def peak_megabytes(pictures: int, size: int) -> float:
    """Return the peak resident memory of a fresh process that augments so many pictures."""
    with tempfile.TemporaryDirectory() as folder:
        make_folder(Path(folder), pictures, size)
        command = [sys.executable, __file__, "--memory-of", folder, "--pictures", str(pictures), "--sizes", str(size)]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def main() -> None:
    """Measure, print, and store the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=6000)
    parser.add_argument("--sizes", default="32,160")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--memory-of", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sizes = [int(size) for size in arguments.sizes.split(",")]
    if arguments.memory_of:
        pipeline.augment(config_for(arguments.memory_of, arguments.pictures, sizes[0]))
        peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())  # ru_maxrss remembers the parent
        print(int(peak[1]) / 1024)
        return
    cv2.setNumThreads(0)
    result = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "runs": [measure(arguments.pictures, size) for size in sizes],
        "peak_megabytes": {n: round(peak_megabytes(n, sizes[-1])) for n in (1000, 10_000)},
    }
    text = json.dumps(result, indent=1)
    print(text)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
