"""Is memory flat in the size of a set: clp-augment, LOAD with --cache, and training on 20,000 and on 200,000 pictures?

    python benchmarks/scale_memory.py [--counts 20000,200000] [--place DIR] [--out benchmarks/results/scale_memory.json]

The pictures are JPEGs of 64 px, each another one, in class folders; nine tenths train, the rest is val and test. They
stay in DIR, so that a second call does not make them again. Each tool runs as a process of its own; memory is what
/proc tells of it and of its workers every 50 ms: RssAnon, which no file backs, summed over them. Pages of mapped files
are left out: the system takes them back as it likes. Bytes a picture are the slope between the two counts.

The cache is timed in a fresh process a row: made, killed half-way and gone on with, and checked with one and two
threads beside the one sha256 over all of it that earlier versions took, and beside the key: the digest of the JPEGs
themselves, which tells a start that they are still the same. LOAD's speed is that of load_speed.py at 64 px.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import platform
import re
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import load_speed
import numpy as np
import PIL
import torch
from PIL import Image

from clp_aug.common.progress import unwatched
from clp_aug.datasets import folder
from clp_aug.datasets.base import TRAIN as TRAIN_SPLIT
from clp_train.loading import blocks
from clp_train.loading.cache import SUFFIX
from clp_train.loading.data import Reader

SIDE, CLASSES = 64, 10
SPLITS = ("train",) * 18 + ("val", "test")
INTERVAL = 0.05  # seconds between two looks at /proc
SPEED_PICTURES = 5_000
NETWORK = f"{Path(__file__).with_name('scale_network.py')}:tiny"
AUGMENT, TRAIN = "from clp_aug.cli import augment; augment()", "from clp_train.cli import train; train()"
OF_AUGMENT = "--dataset folder --root {root} --cf tile --f random --matte centre --size 64 --workers 2 --quiet "
CACHED = "--root {root} --quiet --epochs 1 --batch-size 250 --model {network} --cache {place}/cache "
TOOLS = {
    "augment": (AUGMENT, OF_AUGMENT + "--meta 20/class --out {place}/meta.h5"),
    "train, the cache is made": (TRAIN, CACHED + "--meta {place}/meta.h5 --method erm --out {place}/first"),
    "train a head with CLP, the cache is there": (
        TRAIN,
        CACHED + "--meta {place}/meta.h5 --method clp --set trainable=head --set saliency_lambda=0 --out {place}/head",
    ),
    "augment, a tenth is meta, 1,000 train": (
        AUGMENT, OF_AUGMENT + "--meta {tenth}/class --limit 1000 --out {place}/tenth.h5"
    ),
    "train on that with CLP, the cache is made": (
        TRAIN, CACHED + "--meta {place}/tenth.h5 --method clp --saliency-lambda 0 --out {place}/tenth",
    ),
    "LOAD of its meta set alone, the cache is made": (
        "import sys; from pathlib import Path; from clp_aug.contract.shards import ShardReader;"
        " from clp_train.loading.data import channel_statistics; from clp_train.loading.stored import meta_pictures;"
        " channel_statistics(meta_pictures(ShardReader(sys.argv[1]), Path(sys.argv[2])).images)",
        "{place}/tenth.h5 {place}/other",
    ),
}  # fmt: skip
"""The tools by what they do: what is called, and with which arguments."""


def make_some(root: Path, size: int, start: int, stop: int) -> None:
    """Write pictures by number, JPEG of quality 85, about 2 kB each: a slope, a square of the class, noise."""
    side = np.arange(size)
    for i in range(start, stop):
        rng = np.random.default_rng(i)
        path = root / SPLITS[i % len(SPLITS)] / f"class{i // len(SPLITS) % CLASSES}" / f"{i:07d}.jpg"
        low, slope = rng.integers(0, 100, 3), rng.integers(-1, 2, (2, 3))
        pixels = low + 64 + side[:, None, None] * slope[0] + side[None, :, None] * slope[1]
        x, y = rng.integers(0, size - 20, 2)
        pixels[y : y + 20, x : x + 20] = 25 * (i // len(SPLITS) % CLASSES)
        pixels = pixels + rng.integers(-6, 7, (size, size, 1))
        file = io.BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=85)
        path.write_bytes(file.getvalue())


def make_set(root: Path, count: int, size: int = SIDE) -> Path:
    """Write a set of so many pictures of size x size unless it is there; return its folder."""
    if (root / "made").exists():
        return root
    for split in set(SPLITS):
        for c in range(CLASSES):
            (root / split / f"class{c}").mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        starts = range(0, count, 5_000)
        list(pool.map(partial(make_some, root, size), starts, (min(start + 5_000, count) for start in starts)))
    (root / "made").touch()
    return root


def anonymous_of(pid: int) -> int:
    """Return the bytes of a process and of those that it started that no file backs; 0 for one that has ended."""
    total = 0
    try:
        found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
        total = int(found[1]) * 1024 if found else 0
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += sum(anonymous_of(int(child)) for child in (task / "children").read_text().split())
    except OSError:
        pass
    return total


def watched(command: Sequence[str], stop_when: Callable[[], bool] = lambda: False) -> dict[str, float]:
    """Run a command to its end, or until something is so, when it is killed; return its seconds, by the clock and on
    cores, and its peak.
    """
    start, peak, before = time.perf_counter(), 0, on_cores()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said)
        while process.poll() is None:
            peak = max(peak, anonymous_of(process.pid))
            if stop_when():
                process.send_signal(signal.SIGKILL)
            time.sleep(INTERVAL)
        if process.returncode not in (0, -signal.SIGKILL):
            said.seek(0)
            raise SystemExit(f"{' '.join(command)}: exit {process.returncode}\n{said.read().decode()[-2000:]}")
    seconds, cores = time.perf_counter() - start, on_cores() - before
    return {"seconds": round(seconds, 1), "core_seconds": round(cores, 1), "peak_anonymous_bytes": peak}


def on_cores() -> float:
    """Return the core seconds of all processes that this one has started and that have ended."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def run_tools(root: Path, place: Path, count: int) -> dict[str, dict[str, float]]:
    """Return seconds and peak of each tool on a set. place: an empty folder for what they write."""
    found = {}
    for name, (call, arguments) in TOOLS.items():
        words = arguments.format(root=root, place=place, tenth=count // 10 // CLASSES, network=NETWORK).split()
        found[name] = watched([sys.executable, "-c", call, *words])
        print(root.name, name, found[name], flush=True)
    return found


def slopes(found: dict[int, dict[str, dict[str, float]]]) -> dict[str, float]:
    """Return by how many bytes the peak of each tool rises a picture, from the smallest set to the largest."""
    low, high = min(found), max(found)
    peaks = {name: [found[count][name]["peak_anonymous_bytes"] for count in (low, high)] for name in found[low]}
    return {name: round((last - first) / max(1, high - low), 1) for name, (first, last) in peaks.items()}


def fill(root: Path, cache: Path, workers: int = 2) -> None:
    """Bring the training pictures of a set into a cache."""
    dataset = folder.load(root)
    Reader(dataset, SIDE, "crop", unwatched, cache, workers)(np.flatnonzero(dataset.samples.split == TRAIN_SPLIT), "")


def time_cache(root: Path, place: Path) -> dict[str, Any]:
    """Return how long a cache of a set takes to make, to go on with, and to check, in seconds on cores."""
    call = [sys.executable, __file__, "--fill", str(root), "--place", str(place)]
    made = watched(call)
    (file,) = place.glob(f"*{SUFFIX}")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    file.unlink()
    end = time.perf_counter() + made["seconds"] / 2
    killed = watched(call, lambda: time.perf_counter() > end)["core_seconds"]
    found = {"made": made["core_seconds"], "killed after": killed, "gone on with": watched(call)["core_seconds"]}
    if hashlib.sha256(file.read_bytes()).hexdigest() != digest:
        raise SystemExit("a cache that was gone on with has other bytes")
    dataset = folder.load(root)
    rows, kind = np.flatnonzero(dataset.samples.split == TRAIN_SPLIT), np.dtype(np.uint8)
    shape = (len(rows), 3, SIDE, SIDE)
    found["checked"] = timed(partial(blocks.check, file, shape, kind))
    with open(file, "rb", buffering=0) as opened:
        size = blocks.size_of(shape, kind)
        found["one sha256 over all"] = timed(partial(blocks.add_bytes, hashlib.sha256(), opened, 0, size))
    found["digest of the JPEGs"] = timed(partial(dataset.digest, rows))
    return {"pictures": len(rows), "megabytes": round(file.stat().st_size / 1e6), **found}


def timed(work: Callable[[], object]) -> float:
    """Return the core seconds that something takes in this process."""
    start = time.process_time()
    work()
    return round(time.process_time() - start, 2)


def decode_all(paths: Sequence[Path]) -> None:
    """Do the least: open and decode, one picture after the other; they have the size that is wanted."""
    for path in paths:
        with Image.open(path) as picture:
            np.asarray(picture)


def speed_of(root: Path, rounds: int = 3) -> dict[str, Any]:
    """Return LOAD's speed beside Pillow's on SPEED_PICTURES of a set: medians, and round by round."""
    dataset = folder.load(root)  # its rows are in the order of classes
    some = np.arange(min(SPEED_PICTURES, len(dataset.samples.name)))
    paths = [dataset.root / dataset.samples.name[row] for row in some.tolist()]
    tasks: dict[str, Callable[[], object]] = {"limit": partial(decode_all, paths)}
    for workers in load_speed.WORKERS:
        reader = Reader(dataset, SIDE, "crop", unwatched, None, workers)
        tasks[f"LOAD, {workers} at work"] = partial(reader, some, "train")
    made = [load_speed.one_round(tasks, len(some)) for _ in range(rounds + 1)][1:]  # the first round warms up
    medians = {name: round(statistics.median(entry[name] for entry in made), 2) for name in made[0]}
    return {"pictures_per_second": medians, "rounds": made}


def main() -> None:
    """Measure, print, and store the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", default="20000,200000")
    parser.add_argument("--place", type=Path, default=Path(tempfile.gettempdir()) / "scale_memory")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--fill", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    place = arguments.place
    if arguments.fill:
        fill(arguments.fill, place)
        return
    counts = [int(text) for text in arguments.counts.split(",")]
    sets = {count: make_set(place / f"set{count}", count) for count in counts}
    result: dict[str, Any] = {
        "python": platform.python_version(),
        "pillow": PIL.__version__,
        "torch": torch.__version__,
    }
    result |= {"cores": os.cpu_count(), "load_at_begin": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory(dir=place) as work:
        by_count = {count: run_tools(root, fresh(Path(work) / str(count)), count) for count, root in sets.items()}
        result |= {"tools": by_count, "bytes_a_picture": slopes(by_count)}
        result["cache"] = time_cache(sets[max(counts)], fresh(Path(work) / "cache"))
    result |= {"speed": speed_of(sets[min(counts)]), "load_at_end": os.getloadavg()[0]}
    text = json.dumps(result, indent=1)
    print(text)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(text + "\n")


def fresh(folder: Path) -> Path:
    """Make a folder and return it."""
    folder.mkdir(parents=True)
    return folder


if __name__ == "__main__":
    main()
