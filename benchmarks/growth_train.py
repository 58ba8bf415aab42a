"""Does training grow as its pictures do? LOAD, epochs of ERM and of CLP, EVALUATE on 5,000 and on 100,000 pictures.

    python benchmarks/growth_train.py [--part epochs|meta] [--counts 5000,100000] [--old TREE] [--rounds 3]
        [--place DIR] [--out FILE]

epochs: pictures are JPEGs of 32 px in class folders of DIR, where they stay for a second call; a tiny network and a
meta set of 600 rows, the same for each count, so that nothing but the pictures grows. A fresh process a round and
count reads them with one worker, trains by each method and measures the network on all of them; one thread. Figures are
microseconds a picture: medians of the rounds, of each the median of its epochs but the first, held-out pictures
measured in each. "growth" is the median, over rounds, of the largest count's over the smallest's. Memory is the peak of
what no file backs, with what it rises by a picture beside the bytes of a picture itself.

meta: memory of a run of CLP whose meta set has 6,000 and 60,000 rows of 64 px, from the file of a cache, and of the
same in --old, a checkout of another version. Figures of a part that an earlier call has put into FILE stay; rounds of
epochs are stored one by one, and a call goes on with those that lack.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import scale_memory
import torch

from clp_aug.contract.shards import ShardReader
from clp_train.config import make_config
from clp_train.evaluating.metrics import evaluate
from clp_train.loading.data import RunData, load
from clp_train.running.assembly import assemble
from clp_train.running.loop import Hooks, train

SIDE, META_PER_CLASS = 32, 20
OF_TRAIN = len(scale_memory.SPLITS) / scale_memory.SPLITS.count("train")
METHODS: dict[str, dict[str, Any]] = {"erm": {"method": "erm"}, "clp": {"method": "clp", "saliency_lambda": 0.0}}
EPOCHS, MOST_EPOCHS, AT_LEAST = 2, 9, 45_000  # epochs; more where fewer pictures would be gone through
META_ROWS = (6_000, 60_000)
Rounds = dict[str, list[dict[str, float]]]
"""Count, as text -> its rounds."""


def config_of(shard: Path, root: Path, epochs: int, **method: Any) -> Any:
    """Return the settings of a run of the tiny network on a set."""
    common = {"meta": shard, "root": root, "epochs": epochs, "batch_size": 250, "model": scale_memory.NETWORK}
    return make_config(common | {"workers": 1} | method)


@contextmanager
def clock(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Note how long something takes."""
    start = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - start


def epochs_of(data: RunData, config: Any) -> tuple[float, Any]:
    """Return the median seconds of an epoch but the first, and the network that was trained."""
    ends: list[float] = []
    outcome = train(assemble(config, data), Hooks(on_epoch=lambda _: ends.append(time.perf_counter())))
    return statistics.median(b - a for a, b in itertools.pairwise(ends)), outcome.network


def one_round(root: Path, shard: Path) -> dict[str, float]:
    """Return the microseconds a picture of each stage in this process; epochs: with EVALUATE of the held-out ones."""
    torch.set_num_threads(1)
    reader, seconds = ShardReader(shard), dict[str, float]()
    config = config_of(shard, root, 1, **METHODS["erm"])
    with clock(seconds, "LOAD"):
        data = load(reader, config.data)
    count = len(data.train)
    epochs = min(MOST_EPOCHS, max(EPOCHS, AT_LEAST // count))
    for name, method in METHODS.items():
        seconds[f"an epoch of {name}"], network = epochs_of(data, config_of(shard, root, epochs, **method))
    pictures = replace(data.train, group=data.train.label)
    for _ in range(2):  # the first time warms up
        with clock(seconds, "EVALUATE"):
            evaluate(network, pictures, len(data.header.class_names), list(data.weights))
    held_out = sum(map(len, data.evaluation.values()))
    shared = {name: count + held_out if name == "LOAD" else count for name in seconds}
    return {name: round(1e6 * value / shared[name], 2) for name, value in seconds.items()} | {"pictures": count}


def measure_epochs(place: Path, counts: list[int], rounds: int, kept: Rounds, store: Callable[[Rounds], None]) -> None:
    """Go on with the rounds of each count until there are so many, and store them after each.

    kept: rounds of an earlier call, by count as text.
    """
    made: Rounds = {str(count): kept.get(str(count), []) for count in counts}
    for turn in range(rounds):
        for count in counts:
            if len(made[str(count)]) > turn:
                continue
            root = scale_memory.make_set(place / f"small{count}", round(count * OF_TRAIN) + 1, SIDE)
            shard = shard_of(root, META_PER_CLASS, place / f"small{count}.h5", SIDE)
            with tempfile.TemporaryDirectory() as folder:
                out = Path(folder) / "round.json"
                command = [sys.executable, __file__, "--round-of", str(root), "--shard", str(shard), "--out", str(out)]
                peak = scale_memory.watched(command)["peak_anonymous_bytes"]
                made[str(count)].append(json.loads(out.read_text()) | {"peak_anonymous_bytes": peak})
            print(count, made[str(count)][-1], flush=True)
            store(made)


def summary(made: Rounds) -> dict[str, Any]:
    """Return microseconds a picture and peak of each count, how they grow, and every round."""
    medians = {
        count: {name: statistics.median(entry[name] for entry in entries) for name in entries[0]}
        for count, entries in made.items()
        if entries
    }
    few, *_, many = sorted([*filter(None, made.values())] * 2, key=lambda entries: entries[0]["pictures"])
    low, *_, high = sorted([*medians.values()] * 2, key=lambda entry: entry["pictures"])
    names = [name for name in low if name not in ("pictures", "peak_anonymous_bytes")]
    pairs = list(zip(few, many, strict=False))  # of one round each: the last one may be under way
    growth = {name: round(statistics.median(b[name] / a[name] for a, b in pairs), 3) for name in names}
    rise = (high["peak_anonymous_bytes"] - low["peak_anonymous_bytes"]) / max(1, high["pictures"] - low["pictures"])
    return {
        "microseconds_a_picture": medians,
        "growth": growth,
        "peak_bytes_a_training_picture": round(rise),
        "of_which_pictures": round(OF_TRAIN * 3 * SIDE**2),
        "rounds": made,
    }


def shard_of(root: Path, per_class: int, shard: Path, size: int, *more: str) -> Path:
    """Make a shard of a set, of so many meta originals a class and two others of each, unless it is there."""
    if not shard.exists():
        form = "--dataset folder --cf tile --f random --matte centre --workers 2 --quiet"
        words = f"{form} --root {root} --size {size} --meta {per_class}/class --out {shard}".split()
        scale_memory.watched([sys.executable, "-c", scale_memory.AUGMENT, *words, *more])
    return shard


def measure_meta(place: Path, trees: dict[str, Path], rounds: int) -> dict[str, Any]:
    """Return the peak of a run of CLP by rows of its meta set and version, in bytes."""
    made: dict[str, dict[int, list[float]]] = {name: {rows: [] for rows in META_ROWS} for name in trees}
    for rows in META_ROWS:
        per_class = rows // 3 // scale_memory.CLASSES
        root = scale_memory.make_set(place / f"meta{rows}", 2 * rows // 3)
        shard = shard_of(root, per_class, place / f"meta{rows}.h5", scale_memory.SIDE, "--limit", "1000")
        for _ in range(rounds):
            for name, tree in trees.items():
                with tempfile.TemporaryDirectory(dir=place) as out:
                    words = (
                        f"--root {root} --quiet --epochs 1 --batch-size 250 --model {scale_memory.NETWORK} --cache"
                        f" {place}/cache --meta {shard} --method clp --saliency-lambda 0 --out {out}/run"
                    )
                    command = ["env", f"PYTHONPATH={tree}", sys.executable, "-P", "-c", scale_memory.TRAIN]
                    made[name][rows].append(scale_memory.watched([*command, *words.split()])["peak_anonymous_bytes"])
                print(rows, name, made[name][rows][-1], flush=True)
    low, high = META_ROWS
    return {
        name: {
            "peak_anonymous_bytes": {rows: statistics.median(peaks) for rows, peaks in by_rows.items()},
            "bytes_a_row": round((statistics.median(by_rows[high]) - statistics.median(by_rows[low])) / (high - low)),
            "rounds": by_rows,
        }
        for name, by_rows in made.items()
    }


def main() -> None:
    """Measure, print, and store the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("epochs", "meta"), default="epochs")
    parser.add_argument("--counts", default="5000,100000")
    parser.add_argument("--old", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--place", type=Path, default=Path(tempfile.gettempdir()) / "growth_train")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--round-of", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--shard", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.round_of:
        arguments.out.write_text(json.dumps(one_round(arguments.round_of, arguments.shard)))
        return
    arguments.place.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {"python": platform.python_version(), "torch": torch.__version__, "cores": os.cpu_count()}
    if arguments.out and arguments.out.exists():
        result = json.loads(arguments.out.read_text()) | result
    if arguments.part == "epochs":
        counts = [int(text) for text in arguments.counts.split(",")]
        kept = result.get("epochs", {}).get("rounds", {})

        def store(made: Rounds) -> None:
            result["epochs"] = summary(made)
            write(result, arguments.out)

        measure_epochs(arguments.place, counts, arguments.rounds, kept, store)
    else:
        trees = {"old": arguments.old} if arguments.old else {}
        trees["new"] = Path(__file__).resolve().parents[1]
        result["meta"] = measure_meta(arguments.place, trees, arguments.rounds)
    print(json.dumps(result, indent=1))
    write(result, arguments.out)


def write(result: dict[str, Any], out: Path | None) -> None:
    """Write figures to a file, where one is asked for."""
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
