"""How fast is clp-augment beside the least that it must do: decode the JPEGs and write the HDF5?

    python benchmarks/augment_speed.py [--sizes 32:6000,160:3000] [--rounds 3] [--old TREE]
        [--out benchmarks/results/augment_speed.json]

Every picture is a meta picture with one counterfactual and one factual (all quick fills mixed), so that the shard
has three rows a picture. The limit is what one plain loop takes, in one process and one thread: Pillow decodes the
same files once, and h5py writes as many rows, one chunk a picture. It makes no copy, no checksum that outlives HDF5's,
reads nothing again and waits for no disk. With two workers the limit has half the decoding; one process writes.

A round takes everything once, each in a fresh process: the limit, this tree, and with --old another checkout of the
project, so ratios are of one round. Figures are medians of the rounds; "rounds" holds them all. Aims: 85 % of the
limit with one worker, and 1.8 times as fast with two. Memory is the peak of a fresh process with one worker.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CF, F = ("grey", "random", "shuffle", "tile"), ("shuffle", "random", "mix-rand")
HELD_OUT = ("val", "test")  # without them a part of train would be
HERE = Path(__file__).parents[1]
DIFFERENT = 500  # pictures; of more, some are copies


def make_folder(root: Path, pictures: int, size: int) -> None:
    """Write JPEGs (quality 90) of the demo set at the given size, and a table of boxes."""
    from clp_aug.datasets import load_dataset

    demo, rows, made = load_dataset("demo"), ["file,x0,y0,x1,y1"], list[tuple[bytes, str]]()
    for i in range(min(pictures, DIFFERENT)):
        row = i % len(demo.samples.label)
        file = io.BytesIO()
        Image.fromarray(demo.image(row, size)).save(file, "JPEG", quality=90)
        ys, xs = np.nonzero(demo.alpha(row, size) >= 0.5)
        made.append((file.getvalue(), f"{xs.min()},{ys.min()},{xs.max() + 1},{ys.max() + 1}"))
    for split in ("train", *HELD_OUT):
        for i in range(pictures if split == "train" else 2):
            name = f"{split}/class{i % 2}/{i:06d}.jpg"
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            data, box = made[i % len(made)]
            (root / name).write_bytes(data)
            rows.append(f"{name},{box}")
    (root / "boxes.csv").write_text("\n".join(rows) + "\n")


def once(root: Path, pictures: int, size: int, workers: int) -> dict[str, float]:
    """Augment once, in this process, all pictures but two a class as meta; return seconds of each stage and of all."""
    from clp_aug import pipeline
    from clp_aug.config import AugmentConfig

    seconds: dict[str, float] = {}

    @contextmanager
    def clock(stage: str, total: int):
        start = time.perf_counter()
        yield lambda done: None
        seconds[stage] = time.perf_counter() - start

    out = root / "bench.h5"
    out.unlink(missing_ok=True)
    config = AugmentConfig(
        dataset="folder", root=root, cf=CF, f=F, meta=f"{pictures // 2 - 2}/class", size=size, matte="given", out=out,
        workers=workers,
    )  # fmt: skip
    start = time.perf_counter()
    pipeline.augment(config, clock)
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())  # ru_maxrss remembers the parent
    return {**seconds, "whole": time.perf_counter() - start, "peak_megabytes": int(peak[1]) / 1024}


def limit(root: Path, pictures: int, size: int) -> dict[str, float]:
    """Return the seconds to decode as many originals as are meta, and to write as many rows as their shard has."""
    import h5py

    originals = pictures // 2 * 2 - 4
    files = sorted((root / "train").rglob("*.jpg"))[:originals]
    start = time.perf_counter()
    for file in files:
        picture = np.asarray(Image.open(io.BytesIO(file.read_bytes())).convert("RGB"))
    decoded = time.perf_counter()
    for name, rows, values in (("images", 3 * originals, picture), ("mattes", originals, picture[..., 0].copy())):
        with h5py.File(root / f"{name}.h5", "w", libver=("v110", "v110")) as file:
            chunk = (1, *values.shape)
            data = file.create_dataset("x", (rows, *values.shape), "u1", chunks=chunk, fletcher32=True)
            for i in range(rows):
                data[i] = values
    written = time.perf_counter()
    for name in ("images", "mattes"):
        (root / f"{name}.h5").unlink()
    return {"decode": decoded - start, "write": written - decoded}


def in_a_process(tree: Path, root: Path, pictures: int, size: int, workers: int) -> dict[str, float]:
    """Return what `once` does with a checkout of the project, `limit` with 0 workers."""
    task = ["--once", root, "--sizes", f"{size}:{pictures}", "--workers", workers]
    command = [sys.executable, __file__, *map(str, task)]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tree, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def measure(pictures: int, size: int, rounds: int, trees: dict[str, Path]) -> dict[str, Any]:
    """Return seconds and ratios of some trees by name, of the limit, and of each round."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_folder(root, pictures, size)
        found = []
        for _ in range(rounds):
            least = in_a_process(HERE, root, pictures, size, 0)
            each = {
                (name, workers): in_a_process(tree, root, pictures, size, workers)
                for workers in (1, 2)
                for name, tree in trees.items()
            }
            found.append((least, each))
    originals = pictures // 2 * 2 - 4
    result: dict[str, Any] = {"size": size, "originals": originals, "rows": 3 * originals}
    for name in trees:
        result[name] = figures(found, name, originals)
    if "old" in trees:
        for workers in (1, 2):
            gains = [each["old", workers]["whole"] / each["new", workers]["whole"] for _, each in found]
            result[f"old_over_new, {workers} worker{'s' * (workers - 1)}"] = round(statistics.median(gains), 2)
    result["rounds"] = [
        {name: round(seconds, 3) for name, seconds in least.items()}
        | {f"{name}, {workers}": round(one["whole"], 3) for (name, workers), one in each.items()}
        for least, each in found
    ]
    return result


def figures(found: list[tuple[dict, dict]], name: str, originals: int) -> dict[str, Any]:
    """Return the figures of one tree: medians of the rounds; ratios are taken in each."""
    one, two = ([each[name, workers] for _, each in found] for workers in (1, 2))
    limits = [least["decode"] + least["write"] for least, _ in found]
    limits_of_two = [least["decode"] / 2 + least["write"] for least, _ in found]
    seconds = {stage: [once[stage] for once in one] for stage in one[0] if stage != "peak_megabytes"}
    seconds["whole, 2 workers"] = [once["whole"] for once in two]
    for part in ("decode", "write"):
        seconds[part] = [least[part] for least, _ in found]
    middle = {stage: statistics.median(values) for stage, values in seconds.items()}

    def ratio(above: list[float], below: list[dict]) -> float:
        return round(statistics.median(a / b["whole"] for a, b in zip(above, below, strict=True)), 3)

    return {
        "seconds": {stage: round(value, 3) for stage, value in middle.items()},
        "pictures_per_second": {stage: round(originals / value) for stage, value in middle.items()},
        "whole_over_limit": ratio(limits, one),
        "whole_over_limit, 2 workers": ratio(limits, two),
        "whole_over_limit_of_two, 2 workers": ratio(limits_of_two, two),
        "two_workers_over_one": ratio([once["whole"] for once in one], two),
        "peak_megabytes": round(max(once["peak_megabytes"] for once in one)),
    }


def main() -> None:
    """Measure, print, and store the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="32:6000,160:3000", help="size:pictures, separated by commas")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--old", type=Path, help="another checkout, measured beside this one")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--once", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--workers", type=int, default=1, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sizes = [tuple(map(int, pair.split(":"))) for pair in arguments.sizes.split(",")]
    if arguments.once:
        (size, pictures), workers = sizes[0], arguments.workers
        where = arguments.once, pictures, size
        print(json.dumps(once(*where, workers) if workers else limit(*where)))
        return
    trees = {"new": HERE} | ({"old": arguments.old.resolve()} if arguments.old else {})
    result = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "rounds": arguments.rounds,
        "runs": [measure(pictures, size, arguments.rounds, trees) for size, pictures in sizes],
    }
    text = json.dumps(result, indent=1)
    print(text)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
