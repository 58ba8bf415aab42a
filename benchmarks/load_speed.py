"""How fast does LOAD read pictures beside the least that it must do: open, decode and resize them with Pillow?

    python benchmarks/load_speed.py [--sets FOLDER=SIZE,...] [--old TREE] [--rounds 3] [--out FILE]

A set is a folder of class folders, read in the size given; without --sets there is one of 400 JPEGs of 500 x 375
pixels, gradients with noise, read at 224. Small pictures are gone through until PICTURES of them are read. The limit is
one thread; LOAD goes with one and with two workers. They take turns round by round, and every ratio is of one round.

--old: a checkout of another version. Each round then has a fresh process of either version, in turns, and figures of
both are kept beside each other. A figure of two workers says something only where two cores are free: each round tells
how many cores other processes had meanwhile, and medians are of the rounds in which those were fewer than BUSY, of all
rounds where there is none. On a busy machine the waits tell more: how long, for each picture, a thread computes, waits
for a core, and waits for Python's lock or the disk. Without the second two threads would be as many times as fast as
"speed_up_that_the_lock_leaves" says. Figures of sets that an earlier call has put into FILE stay.

Memory is what a fresh process rises by while channel statistics are taken of random pictures of 64 px, in memory and
in a mapped file, whose pages the system counts as the process's own until it wants them back.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import PIL
import torch
from PIL import Image

from clp_aug.common.progress import unwatched
from clp_aug.datasets import folder
from clp_aug.datasets.base import Dataset
from clp_train.loading.cache import load_or_fill
from clp_train.loading.data import Reader, channel_statistics
from clp_train.loading.decoding import block_of

WIDTH, HEIGHT = 500, 375
GRADIENTS = 400
BUSY = 0.15  # cores
WORKERS = (1, 2)
PICTURES, SMALL = 40_000, 100  # read of a set in a round; the size up to which so many are
SOME = 800  # of larger ones
WATERBIRDS = 11_788  # pictures
COUNTS, SIDE = (2_000, 20_000), 64  # of the pictures whose statistics are taken


def make_folder(root: Path, pictures: int) -> Dataset:
    """Write JPEGs (quality 90) of a gradient with noise in two class folders, and return them as a data set."""
    rng = np.random.default_rng(0)
    slope = np.add.outer(np.linspace(0, 120, HEIGHT), np.linspace(0, 100, WIDTH))[..., None] + [0, 10, 20]
    for i in range(pictures):
        path = root / "train" / f"class{i % 2}" / f"{i:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        noisy = slope + rng.normal(0, 12, (HEIGHT, WIDTH, 3))
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, quality=90)
    return folder.load(root)


def decode_all(paths: list[Path], size: int) -> None:
    """Do the least: open, decode, resize and crop, one picture after the other."""
    for path in paths:
        with Image.open(path) as picture:
            if picture.size != (size, size):
                (width, height), side = picture.size, min(picture.size)
                left, top = (width - side) / 2, (height - side) / 2
                box = (left, top, left + side, top + side)
                picture = picture.resize((size, size), Image.Resampling.BILINEAR, box=box)
            np.asarray(picture)


def busy_seconds() -> float:
    """Return the core seconds that all processes of the machine have taken."""
    ticks = [int(text) for text in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / 100  # without idle and waits for disks


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds that something takes, and how many cores other processes had meanwhile."""
    busy, own, start = busy_seconds(), time.process_time(), time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    return seconds, max(0.0, (busy_seconds() - busy - (time.process_time() - own)) / seconds)


def one_round(rows: dict[str, Callable[[], object]], pictures: int) -> dict[str, float]:
    """Return pictures a second of each row, their ratios, and the most cores that others had meanwhile."""
    found = {name: timed(work) for name, work in rows.items()}
    limit, one, two = (seconds for seconds, _ in found.values())
    ratios = {"1 over limit": limit / one, "2 over limit": limit / two, "2 over 1": one / two}
    ratios["others"] = max(cores for _, cores in found.values())
    rates = {name: round(pictures / seconds) for name, (seconds, _) in found.items()}
    return rates | {name: round(value, 2) for name, value in ratios.items()}


def tasks_of(dataset: Dataset, size: int) -> tuple[dict[str, Callable[[], object]], int]:
    """Return the limit and LOAD with one and with two workers, as what to call, and how many pictures each reads."""
    names = dataset.samples.name
    rows = np.arange(PICTURES if size <= SMALL else min(SOME, len(names))) % len(names)
    paths = [dataset.root / names[row] for row in rows.tolist()]
    tasks: dict[str, Callable[[], object]] = {"limit": partial(decode_all, paths, size)}
    for workers in WORKERS:
        reader = Reader(dataset, size, "crop", unwatched, None, workers)
        tasks[f"LOAD, {workers} at work"] = partial(reader, rows, "train")
    return tasks, len(rows)


def warmed_round(root: Path, size: int) -> dict[str, float]:
    """Return a round on a set, after some pictures were read that do not count."""
    dataset = folder.load(root)
    Reader(dataset, size, "crop", unwatched, None, 1)(np.arange(min(200, len(dataset.samples.name))), "train")
    return one_round(*tasks_of(dataset, size))


def round_of(tree: Path, root: Path, size: int) -> dict[str, float]:
    """Return the same by a fresh process of the version in a folder."""
    command = [sys.executable, __file__, "--round-of", f"{root}={size}"]
    environment = os.environ | {"PYTHONPATH": str(tree)}
    run = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    found: dict[str, float] = json.loads(run.stdout)
    return found


def measure(trees: dict[str, Path], root: Path, size: int, rounds: int) -> dict:
    """Return the limit, LOAD with one and with two workers, and their ratios, of each version: medians, and round by
    round; and how long a core takes for a set as large as Waterbirds.
    """
    made: dict[str, list[dict[str, float]]] = {name: [] for name in trees}
    for turn in range(rounds):
        for name in list(trees)[:: 1 if turn % 2 else -1]:
            made[name].append(round_of(trees[name], root, size))
    result: dict = {name: summary(entries) for name, entries in made.items()}
    if len(made) == 2:
        old, new = made.values()
        tasks = [name for name in new[0] if name.startswith("LOAD")]
        result["as fast as the old version"] = {
            task: round(statistics.median(b[task] / a[task] for a, b in zip(old, new, strict=True)), 2)
            for task in tasks
        }
    return result


def summary(made: list[dict[str, float]]) -> dict:
    """Return the rounds of a version with their medians."""
    quiet = [entry for entry in made if entry["others"] < BUSY]
    medians = {name: round(statistics.median(entry[name] for entry in quiet or made), 2) for name in made[0]}
    seconds = {f"{w} at work": round(WATERBIRDS / medians[f"LOAD, {w} at work"], 1) for w in WORKERS}
    return {
        "quiet_rounds": len(quiet), "pictures_per_second": medians, f"seconds_of_{WATERBIRDS}_pictures": seconds,
        "rounds": made,
    }  # fmt: skip


class Waits:
    """Reads a picture, and adds up what its thread did meanwhile: computed, waited for a core, waited otherwise."""

    def __init__(self, read: Callable[[int], np.ndarray]) -> None:
        self.read, self.lock, self.seconds = read, threading.Lock(), np.zeros(3)

    def now(self) -> np.ndarray:
        """Return seconds of this thread: on a core, waiting for one, by the clock."""
        path = f"/proc/self/task/{threading.get_native_id()}/schedstat"
        on_core, for_core = Path(path).read_text().split()[:2]
        return np.array([int(on_core) / 1e9, int(for_core) / 1e9, time.perf_counter()])

    def __call__(self, row: int) -> np.ndarray:
        before = self.now()
        picture = self.read(row)
        spent = self.now() - before
        with self.lock:
            self.seconds += [spent[0], spent[1], spent[2] - spent[0] - spent[1]]
        return picture


def waits_of(dataset: Dataset, size: int) -> dict:
    """Return where the time of a picture goes, in milliseconds, for each number of workers."""
    from clp_train.loading.decoding import read_by_threads  # an earlier version has none, and is not asked

    rows, found = np.arange(min(SOME, len(dataset.samples.name))), {}
    for workers in WORKERS:
        waits = Waits(lambda row: dataset.image(row, size))
        for _ in read_by_threads(waits, rows, workers, block_of(3 * size**2)):
            pass
        found[workers] = 1000 * waits.seconds / len(rows)
    most = {w: round(w * found[1][0] / (found[w][0] + found[w][2]), 2) for w in WORKERS}
    names = ("computes", "waits for a core", "waits for the lock or the disk")
    by_workers = {w: dict(zip(names, each.round(3).tolist(), strict=True)) for w, each in found.items()}
    return {"milliseconds_a_picture": by_workers, "speed_up_that_the_lock_leaves": most}


def memory_of(which: str) -> float:
    """Return the megabytes of memory of this process that /proc tells under a name."""
    found = re.search(rf"{which}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024


def rise(pictures: int, is_mapped: bool) -> dict[str, float]:
    """Return by how much this process's peak rises while statistics are taken, and how much of that a file backs."""
    shape, rng = (pictures, 3, SIDE, SIDE), np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as place:
        channel_statistics(torch.zeros(2, 3, SIDE, SIDE, dtype=torch.uint8))  # what is loaded at the first use
        if is_mapped:
            parts = (rng.integers(0, 256, (100, *shape[1:]), np.uint8) for _ in range(pictures // 100))
            images = load_or_fill(Path(place) / "pictures.array", shape, np.uint8, lambda _: parts)
        else:
            images = torch.from_numpy(rng.integers(0, 256, shape, np.uint8))
        Path("/proc/self/clear_refs").write_text("5")  # the peak is from here on
        before, backed = memory_of("VmRSS"), memory_of("RssFile")
        channel_statistics(images)
        return {"peak": round(memory_of("VmHWM") - before, 1), "file_pages": round(memory_of("RssFile") - backed, 1)}


def rises() -> list[dict]:
    """Return the rise in megabytes, each taken in a fresh process."""
    rows = []
    for is_mapped in (False, True):
        for pictures in COUNTS:
            command = [sys.executable, __file__, "--rise-of", str(pictures), *(["--mapped"] if is_mapped else [])]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            size = pictures * 3 * SIDE**2 / (1 << 20)
            rows.append({"mapped": is_mapped, "pictures": pictures, "their_megabytes": round(size), "rise": found})
    return rows


def main() -> None:
    """Measure, print, and store the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", default="")
    parser.add_argument("--old", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rise-of", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--round-of", help=argparse.SUPPRESS)
    parser.add_argument("--mapped", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.rise_of:
        print(json.dumps(rise(arguments.rise_of, arguments.mapped)))
        return
    if arguments.round_of:
        print(json.dumps(warmed_round(*set_of(arguments.round_of))))
        return
    trees = {"old": arguments.old} if arguments.old else {}
    trees["new"] = Path(__file__).resolve().parents[1]
    with tempfile.TemporaryDirectory() as place:
        if not arguments.sets:
            make_folder(Path(place), GRADIENTS)
        sets = [set_of(text) for text in (arguments.sets or f"{place}=224").split(",")]
        speed = {}
        for root, size in sets:
            speed[f"{root.name if arguments.sets else 'gradients'}, {size} px"] = measure(
                trees, root, size, arguments.rounds
            )
        result: dict = {"python": platform.python_version(), "pillow": PIL.__version__, "torch": torch.__version__}
        result |= {"speed": speed, "waits": waits_of(folder.load(sets[-1][0]), sets[-1][1])}
        result["megabytes_while_statistics_are_taken"] = rises()
    if arguments.out and arguments.out.exists():
        kept = json.loads(arguments.out.read_text()).get("speed", {})
        result["speed"] = {name: entry for name, entry in kept.items() if ", " in name} | speed
    text = json.dumps(result, indent=1)
    print(text)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(text + "\n")


def set_of(text: str) -> tuple[Path, int]:
    """Return folder and size of a set out of FOLDER=SIZE."""
    root, _, size = text.rpartition("=")
    return Path(root), int(size)


if __name__ == "__main__":
    main()
