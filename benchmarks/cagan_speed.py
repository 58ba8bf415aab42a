"""How many pictures a second does cagan fill, by side, context and workers, beside an earlier version in the same run?

    python benchmarks/cagan_speed.py [--old TREE] [--sizes 32,64,160] [--contexts 0,0.1,0.25,0.5] [--out F]

TREE is a folder with another version of the package. Pictures are smooth noise; boxes have half of each side, anywhere.
A worker is a process with one thread, and calls `infill` as a run of clp-augment does. Forms take turns, three rounds;
ratios are of one round, in pictures a second beside the first form.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROUNDS, SECONDS, PICTURES, WORKERS = 3, 0.6, 8, (1, 2)
BATCH = "batch"
HERE = Path(__file__).resolve().parents[1]


def serve() -> None:
    """Answer each line of standard input, "size context" or "size batch", with pictures a second."""
    import torch

    torch.set_num_threads(1)
    for line in sys.stdin:
        size, form = int(line.split()[0]), line.split()[1]
        once, pictures = together(size) if form == BATCH else one_by_one(size, float(form))
        once(0)
        done, start = 0, time.perf_counter()
        while time.perf_counter() < start + SECONDS or done < PICTURES:
            once(done)
            done += pictures
        print(done / (time.perf_counter() - start), flush=True)


def one_by_one(size: int, context: float) -> tuple[Callable[[int], object], int]:
    """Return what fills one picture as a run does, given its number, and how many it fills."""
    from clp_aug.contract.schema import COUNTERFACTUAL
    from clp_aug.fills import infill
    from clp_aug.fills.cagan import Options
    from clp_aug.fills.scene import Materials

    options, scenes = Options(**({"cagan_context": context} if context else {})), scenes_of(size)
    return lambda i: infill("cagan", COUNTERFACTUAL, scenes[i % PICTURES], None, Materials(), options), 1


def together(size: int) -> tuple[Callable[[int], object], int]:
    """Return what fills all pictures in one batch, and how many there are."""
    import numpy as np
    import torch

    from clp_aug.fills.cagan import load_inpainter

    network, scenes = load_inpainter(None, "own"), scenes_of(size)
    pictures = torch.from_numpy(np.stack([scene.image for scene in scenes])).permute(0, 3, 1, 2).float() / 255
    holes = torch.from_numpy(np.stack([scene.causal() for scene in scenes]))[:, None].float()
    return torch.inference_mode()(lambda _: network.fill(pictures, holes)), PICTURES


def scenes_of(size: int) -> list:
    """Return pictures of a side with their boxes, always the same."""
    import cv2
    import numpy as np

    from clp_aug.fills.scene import Scene

    rng, half, scenes = np.random.default_rng(0), size // 2, []
    for _ in range(PICTURES):
        coarse = rng.integers(0, 256, (size // 8, size // 8, 3), np.uint8)
        x0, y0 = (int(low) for low in rng.integers(0, size - half + 1, 2))
        image = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
        scenes.append(Scene(image, (x0, y0, x0 + half, y0 + half), 0))
    return scenes


def worker(tree: Path) -> subprocess.Popen:
    """Start a process that measures with a version of the package."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--serve"]
    return subprocess.Popen(
        command, cwd=tree, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def ask(workers: list[subprocess.Popen], size: int, form: str) -> float:
    """Return the pictures a second of some workers together."""
    for process in workers:
        process.stdin.write(f"{size} {form}\n")
        process.stdin.flush()
    return sum(float(process.stdout.readline()) for process in workers)


def measure(trees: dict[str, Path], forms: list[tuple[str, str, str]], sizes: list[int]) -> list[dict]:
    """Return a row for each side, number of workers and form. forms: name, tree and what is asked for; ratios are to
    the first.
    """
    workers = {name: [worker(tree) for _ in range(max(WORKERS))] for name, tree in trees.items()}
    rows = []
    for size in sizes:
        for count in WORKERS:
            rounds = [
                {name: ask(workers[tree][:count], size, form) for name, tree, form in forms} for _ in range(ROUNDS)
            ]
            for name, _, _ in forms:
                ratios = [found[name] / found[forms[0][0]] for found in rounds]
                rows.append({
                    "size": size, "workers": count, "form": name,
                    "per_second": [round(found[name], 2) for found in rounds],
                    "median": round(statistics.median(found[name] for found in rounds), 2),
                    "ratios": [round(ratio, 3) for ratio in ratios], "ratio": round(statistics.median(ratios), 3),
                })  # fmt: skip
                print(rows[-1], flush=True)
    for process in (process for some in workers.values() for process in some):
        process.stdin.close()
        process.wait()
    return rows


def main() -> None:
    """Measure every form, print the rows, store them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--old", type=Path)
    parser.add_argument("--sizes", default="32,64,160")
    parser.add_argument("--contexts", default="0,0.1,0.25,0.5")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve()
        return
    trees = {"now": HERE} | ({"old": arguments.old.resolve()} if arguments.old else {})
    forms = [("earlier version", "old", "0")] if arguments.old else []
    for context in arguments.contexts.split(","):
        forms.append((f"context {context}" if float(context) else "whole picture", "now", context))
    forms.append((f"whole pictures, {PICTURES} together", "now", BATCH))
    rows = measure(trees, forms, [int(size) for size in arguments.sizes.split(",")])
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps({"rounds": ROUNDS, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
