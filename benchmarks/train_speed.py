"""What does a step cost? Ratios to a plain cross-entropy step of the same network, in one process, interleaved.

    python benchmarks/train_speed.py [--model resnet32] [--pictures 100] [--rounds 7] [--out FILE]

Each row is one `train_step` as `clp-train` does it: batches of random pictures of 32 x 32 and their boxes, a meta
batch as large, ten classes. Rows take turns round by round, and the figure is the median of the rounds' ratios, so
that a busy machine slows both sides of each ratio. Counting passes (forward 1, backward 2) the exact meta step needs 9
to 10 where plain training needs 3. Memory is what the peak of a fresh process rises by during the steps.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch

from clp_aug.common.memory import keep_freed_memory
from clp_train.algorithm.method import Context
from clp_train.algorithm.second_order import input_gradient
from clp_train.algorithm.step import train_step
from clp_train.algorithm.table import TrainTable
from clp_train.config import make_config
from clp_train.methods import build_method
from clp_train.models import build_model
from clp_train.pictures.keys import generator_for
from clp_train.pictures.types import Batch
from clp_train.running.assembly import step_rule

CLASSES, SIDE = 10, 32
FORWARD, LAGGED = {"hypergradient": "forward"}, {"meta_step": "lagged"}
ROWS = {  # name -> settings of the run; central differences are the default
    "plain cross entropy": {"method": "erm"},
    "logit adjustment": {"method": "logit-adjust"},
    "Meta-LP, exact, central": {"method": "meta-lp"},
    "Meta-LP, exact, forward": {"method": "meta-lp", **FORWARD},
    "Meta-LP, lagged, central": {"method": "meta-lp", **LAGGED},
    "Meta-LP, lagged, forward": {"method": "meta-lp", **LAGGED, **FORWARD},
    "Meta-LP, last block, central": {"method": "meta-lp", "meta_scope": "last-block"},
    "MWN, exact, central": {"method": "mwn"},
    "CLP, exact, central, no saliency": {"method": "clp", "saliency_lambda": 0.0},
    "CLP, exact, central, saliency on both": {"method": "clp"},
    "CLP, exact, forward, saliency on both": {"method": "clp", **FORWARD},
    "CLP, exact, central, saliency on a quarter": {"method": "clp", "saliency_subset": 0.25},
    "CLP, exact, central, torch's own second derivatives": {"method": "clp"},
    "Meta-LP, double backward": {"method": "meta-lp", "hypergradient": "reference"},
}


def batch_of(pictures: int, seed: int, kinds: int = 1) -> Batch:
    """Return random pictures with a centred box, and kinds in turn."""
    generator = torch.Generator().manual_seed(seed)
    inside = torch.zeros(pictures, SIDE, SIDE, dtype=torch.bool)
    inside[:, 8:24, 8:24] = True
    label = torch.randint(CLASSES, (pictures,), generator=generator)
    kind = (torch.arange(pictures) % kinds).to(torch.uint8)
    images = torch.rand(pictures, 3, SIDE, SIDE, generator=generator)
    return Batch(images, inside, label, label, kind, torch.arange(pictures))


class PlainSecondOrder(nullcontext):
    """In place of `second_order`: torch differentiates its own backward passes."""

    input_gradient = staticmethod(input_gradient)


class Row:
    """One way to step, with its own network and method."""

    def __init__(self, name: str, model: str, pictures: int, channels_last: bool) -> None:
        config = make_config({"meta": "none", "model": model, **ROWS[name]})
        self.network = build_model(model, CLASSES, [0.5] * 3, [0.25] * 3, generator_for(0, 0, "network")).train()
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self.network = self.network.to(memory_format=layout)
        self.train, self.meta = batch_of(pictures, 0), batch_of(pictures, 1, 3)
        table = TrainTable(self.train.label, self.train.label, CLASSES, CLASSES)
        context = Context(
            config.method, table, generator_for(0, 0, "method"), sgd=config.sgd, meta_step=config.meta_step,
            saliency=config.saliency,
        )  # fmt: skip
        self.method, self.rule = build_method(config.options, context), step_rule(config)
        if "torch's own" in name:
            self.rule = replace(self.rule, twice=PlainSecondOrder)
        self.optimiser = torch.optim.SGD(self.network.parameters(), 0.1, 0.9, weight_decay=5e-4)
        self.layout, self.steps = layout, 0

    def step(self) -> float:
        """Do one step and return its seconds."""
        train = Batch(**{**vars(self.train), "images": self.train.images.clone().contiguous(memory_format=self.layout)})
        start = time.perf_counter()
        meta = self.meta if self.method.learned else None
        train_step(self.network, self.method, self.optimiser, train, meta, self.rule, self.steps)
        self.steps += 1
        return time.perf_counter() - start


def resident_megabytes(peak: bool) -> float:
    """Return the resident memory of this process, now or at its peak."""
    found = re.search(rf"{'VmHWM' if peak else 'VmRSS'}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024


def peak_of(name: str, arguments: argparse.Namespace) -> float:
    """Return by how much the peak of a fresh process rises during the steps of one row, in megabytes."""
    command = [sys.executable, __file__, "--peak-of", name, "--model", arguments.model]
    command += ["--pictures", str(arguments.pictures)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def main() -> None:
    """Measure, print a table, store the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet32")
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    keep_freed_memory()  # as clp-train does
    if arguments.peak_of:
        row = Row(arguments.peak_of, arguments.model, arguments.pictures, False)
        before = resident_megabytes(peak=False)
        for _ in range(3):
            row.step()
        print(resident_megabytes(peak=True) - before)
        return
    results = {"threads": torch.get_num_threads(), "torch": torch.__version__, "model": arguments.model, "rows": []}
    for channels_last in (False, True):
        rows = {name: Row(name, arguments.model, arguments.pictures, channels_last) for name in ROWS}
        times: dict[str, list[float]] = {name: [] for name in ROWS}
        for turn in range(arguments.rounds + 1):  # the first round warms up
            for name, row in rows.items():
                seconds = row.step()
                if turn:
                    times[name].append(seconds)
        plain = times["plain cross entropy"]
        for name, seconds in times.items():
            ratio = statistics.median(s / p for s, p in zip(seconds, plain, strict=True))
            entry = {
                "layout": "channels last" if channels_last else "contiguous", "row": name,
                "milliseconds": round(1000 * statistics.median(seconds)), "ratio": round(ratio, 2),
            }  # fmt: skip
            results["rows"].append(entry)
            print(" | ".join(map(str, entry.values())), flush=True)
    names = ("plain cross entropy", "Meta-LP, exact, forward", "Meta-LP, exact, central", "Meta-LP, double backward")
    results["peak_megabytes"] = {name: round(peak_of(name, arguments)) for name in names}
    print(results["peak_megabytes"])
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
