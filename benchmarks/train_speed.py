"""What does a step cost? Ratios to a plain cross-entropy step of the same network, in one process, interleaved.

    python benchmarks/train_speed.py [--model resnet32] [--pictures 100] [--rounds 7] [--before FOLDER] [--out FILE]
        [--parts times,errors,memory] [--layouts contiguous,channels-last] [--only PATTERN]

Each row is one `train_step` as `clp-train` does it: batches of random pictures of 32 x 32 and their boxes, a meta
batch as large, ten classes. Rows take turns round by round, and the figure is the median of the rounds' ratios, so
that a busy machine slows both sides of each ratio. Counting passes (forward 1, backward 2) the exact meta step needs
10 with central differences and 9 with one-sided ones where plain training needs 3, with eq. (6) on both batches 16 and
15. Errors are those of Omega's gradient after three steps, against the same step in float64. Memory is what the peak of
a fresh process rises by during the steps. With a checkout of earlier code its steps take turns with the others, in a
process of their own. What a FILE has of other parts and rows stays in it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

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
ONE_SIDED, QUARTER = {"hypergradient": "one-sided"}, {"saliency_subset": 0.25}
ROWS = {  # name -> settings of the run; central differences are the default
    "plain cross entropy": {"method": "erm"},
    "logit adjustment": {"method": "logit-adjust"},
    "Meta-LP, exact, central": {"method": "meta-lp"},
    "Meta-LP, exact, one-sided": {"method": "meta-lp", **ONE_SIDED},
    "Meta-LP, exact, forward": {"method": "meta-lp", **FORWARD},
    "Meta-LP, lagged, central": {"method": "meta-lp", **LAGGED},
    "Meta-LP, lagged, one-sided": {"method": "meta-lp", **LAGGED, **ONE_SIDED},
    "Meta-LP, lagged, forward": {"method": "meta-lp", **LAGGED, **FORWARD},
    "Meta-LP, last block, central": {"method": "meta-lp", "meta_scope": "last-block"},
    "MWN, exact, central": {"method": "mwn"},
    "CLP, exact, central, no saliency": {"method": "clp", "saliency_lambda": 0.0},
    "CLP, exact, central, saliency on both": {"method": "clp"},
    "CLP, exact, one-sided, saliency on both": {"method": "clp", **ONE_SIDED},
    "CLP, exact, forward, saliency on both": {"method": "clp", **FORWARD},
    "CLP, exact, central, saliency on a quarter": {"method": "clp", **QUARTER},
    "CLP, exact, one-sided, saliency on a quarter": {"method": "clp", **QUARTER, **ONE_SIDED},
    "CLP, lagged, one-sided, saliency on both": {"method": "clp", **LAGGED, **ONE_SIDED},
    "CLP, exact, central, torch's own second derivatives": {"method": "clp"},
    "Meta-LP, double backward": {"method": "meta-lp", "hypergradient": "reference"},
}
PLAIN = "plain cross entropy"
BEFORE = (  # rows that earlier code takes too
    PLAIN, "Meta-LP, exact, central", "Meta-LP, lagged, central", "Meta-LP, last block, central",
    "CLP, exact, central, saliency on both", "CLP, exact, central, saliency on a quarter",
)  # fmt: skip
MEMORY = (
    PLAIN, "Meta-LP, exact, central", "Meta-LP, exact, one-sided", "Meta-LP, exact, forward",
    "Meta-LP, lagged, one-sided", "Meta-LP, double backward", "CLP, exact, central, saliency on both",
    "CLP, exact, one-sided, saliency on both",
)  # fmt: skip
EARLIER = ", earlier code"
LAYOUTS = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last}


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

    def __init__(self, name: str, model: str, pictures: int, layout: str) -> None:
        config = make_config({"meta": "none", "model": model, **ROWS[name]})
        self.network = build_model(model, CLASSES, [0.5] * 3, [0.25] * 3, generator_for(0, 0, "network")).train()
        self.network = self.network.to(memory_format=LAYOUTS[layout])
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
        self.layout, self.steps = LAYOUTS[layout], 0

    def step(self) -> float:
        """Do one step and return its seconds."""
        train = self.batch()
        start = time.perf_counter()
        meta = self.meta if self.method.learned else None
        train_step(self.network, self.method, self.optimiser, train, meta, self.rule, self.steps)
        self.steps += 1
        return time.perf_counter() - start

    def batch(self) -> Batch:
        """Return a copy of the training batch in the row's layout."""
        images = self.train.images.clone().contiguous(memory_format=self.layout)
        return Batch(**{**vars(self.train), "images": images})

    def error(self) -> dict[str, float]:
        """Return the error of Omega's gradient in the step that would come next."""
        from omega_error import error_of, omega_gradient  # beside this file; earlier code has no use for it

        given = (self.network, self.method, self.optimiser, self.batch(), self.meta, self.rule)
        return error_of(omega_gradient(*given, False), omega_gradient(*given, True))


class EarlierRow:
    """A row of earlier code, in a process of its own that steps when it is asked to. folder: its checkout."""

    def __init__(self, name: str, folder: Path, arguments: argparse.Namespace, layout: str) -> None:
        command = [sys.executable, __file__, "--serve", name, "--layouts", layout, *sizes(arguments)]
        environment = {**os.environ, "PYTHONPATH": str(folder)}
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def step(self) -> float:
        """Let it do one step and return its seconds."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self) -> None:
        """End its process."""
        self.process.communicate()


def serve(row: Row) -> None:
    """Step once for each line that comes in, and say how long it took."""
    for _ in sys.stdin:
        print(row.step(), flush=True)


def sizes(arguments: argparse.Namespace) -> list[str]:
    """Return the options by which another process takes the same network and batches."""
    return ["--model", arguments.model, "--pictures", str(arguments.pictures)]


def resident_megabytes(peak: bool) -> float:
    """Return the resident memory of this process, now or at its peak."""
    found = re.search(rf"{'VmHWM' if peak else 'VmRSS'}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024


def peak_of(name: str, arguments: argparse.Namespace, folder: Path | None) -> float:
    """Return by how much the peak of a fresh process rises during the steps of one row, in megabytes. folder: of the
    code, None for this one's.
    """
    command = [sys.executable, __file__, "--peak-of", name, *sizes(arguments)]
    code = {} if folder is None else {"PYTHONPATH": str(folder)}
    ended = subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder, env={**os.environ, **code})
    return float(ended.stdout.split()[-1])


def rise_of_peak(row: Row) -> float:
    """Return by how much the peak of this process rises during three steps, in megabytes."""
    before = resident_megabytes(peak=False)
    for _ in range(3):
        row.step()
    return resident_megabytes(peak=True) - before


def times_of(layout: str, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Return milliseconds and ratio of each row, steps taken in turns."""
    names = [name for name in ROWS if name == PLAIN or re.search(arguments.only, name)]
    rows: dict[str, Row | EarlierRow] = {name: Row(name, arguments.model, arguments.pictures, layout) for name in names}
    earlier = {
        name + EARLIER: EarlierRow(name, arguments.before.resolve(), arguments, layout)
        for name in names
        if arguments.before is not None and name in BEFORE
    }
    rows |= earlier
    times: dict[str, list[float]] = {name: [] for name in rows}
    for turn in range(arguments.rounds + 1):  # the first round warms up
        for name, row in rows.items():
            seconds = row.step()
            if turn:
                times[name].append(seconds)
    for row in earlier.values():
        row.close()
    return [entry_of(layout, name, times) for name in times]


def entry_of(layout: str, name: str, times: dict[str, list[float]]) -> dict[str, Any]:
    """Return the figures of a row: its ratio is to the plain step of the same code."""
    plain = times[PLAIN + EARLIER if name.endswith(EARLIER) else PLAIN]
    ratios = [s / p for s, p in zip(times[name], plain, strict=True)]
    return {
        "layout": layout.replace("-", " "), "row": name, "milliseconds": round(1000 * statistics.median(times[name])),
        "ratio": round(statistics.median(ratios), 2), "lowest": round(min(ratios), 2),
        "highest": round(max(ratios), 2),
    }  # fmt: skip


def errors_of(arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Return the error of Omega's gradient of each row with a meta step, after three steps."""
    errors = {}
    for name in ROWS:
        row = Row(name, arguments.model, arguments.pictures, "contiguous")
        if row.method.learned:
            for _ in range(3):
                row.step()
            errors[name] = row.error()
            print(name, errors[name], flush=True)
    return errors


def peaks_of(arguments: argparse.Namespace) -> dict[str, int]:
    """Return the peak of each row of MEMORY, of earlier code too where it is given, in megabytes."""
    peaks = {name: round(peak_of(name, arguments, None)) for name in MEMORY}
    if arguments.before is not None:
        folder, names = arguments.before.resolve(), [name for name in MEMORY if name in BEFORE]
        peaks |= {name + EARLIER: round(peak_of(name, arguments, folder)) for name in names}
    return peaks


def store(found: dict[str, Any], file: Path) -> None:
    """Write figures as JSON; what the file has of other parts and rows stays."""
    known = json.loads(file.read_text()) if file.exists() else {}
    if "rows" in found:
        new = {(entry["layout"], entry["row"]) for entry in found["rows"]}
        kept = [entry for entry in known.get("rows", []) if (entry["layout"], entry["row"]) not in new]
        found["rows"] = kept + found["rows"]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(known | found, indent=1) + "\n")


def main() -> None:
    """Measure, print, store the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet32")
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--parts", default="times,errors,memory")
    parser.add_argument("--layouts", default=",".join(LAYOUTS))
    parser.add_argument("--only", default="", help="pattern of the rows to time; a plain step is always timed")
    parser.add_argument("--before", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    layouts, parts = arguments.layouts.split(","), arguments.parts.split(",")
    keep_freed_memory()  # as clp-train does
    alone = arguments.peak_of or arguments.serve
    if alone:
        row = Row(alone, arguments.model, arguments.pictures, layouts[0])
        serve(row) if arguments.serve else print(rise_of_peak(row))
        return
    found: dict[str, Any] = {"torch": torch.__version__, "model": arguments.model, "pictures": arguments.pictures}
    if "times" in parts:
        found |= {"threads": torch.get_num_threads(), "rounds": arguments.rounds}
        found["rows"] = [entry for layout in layouts for entry in times_of(layout, arguments)]
        print("\n".join(" | ".join(map(str, entry.values())) for entry in found["rows"]), flush=True)
    if "errors" in parts:
        found["errors_against_float64"] = errors_of(arguments)
    if "memory" in parts:
        found["peak_megabytes"] = peaks_of(arguments)
        print(found["peak_megabytes"])
    if arguments.out:
        store(found, arguments.out)


if __name__ == "__main__":
    main()
