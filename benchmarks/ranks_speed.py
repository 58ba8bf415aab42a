"""Steps of a run by one process and by two, one thread each, in turn: seconds a step, and what is exchanged.

    python benchmarks/ranks_speed.py [--rounds 3] [--out benchmarks/results/ranks_speed.json]

It starts itself once a rank. Two processes share this machine's cores, so with two cores the ideal ratio is 2.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import distributed as dist

from clp_train.algorithm.method import Context
from clp_train.algorithm.optimiser import build_optimiser
from clp_train.algorithm.settings import MetaStepSettings, SaliencySettings, SgdSettings
from clp_train.algorithm.step import StepRule, train_step
from clp_train.algorithm.table import TrainTable
from clp_train.methods import build_method, make_options
from clp_train.models import build_model
from clp_train.models.parts import heads
from clp_train.pictures.types import Batch
from clp_train.ranks import BATCH_NORMS, SYNCHRONISED
from clp_train.ranks.launching import joined, ranks_of
from clp_train.ranks.splitting import split_passes

CASES = {
    "erm": ("erm", {}),
    "clp exact": ("clp", {}),
    "clp exact, no saliency": ("meta-lp", {}),
    "clp lagged": ("clp", {"meta_step": "lagged"}),
}
CLASSES, WARM, STEPS = 10, 1, 3


def batch_of(pictures: int, side: int, seed: int, meta: bool) -> Batch:
    """Return a made batch."""
    g = torch.Generator().manual_seed(seed)
    images = torch.rand(pictures, 3, side, side, generator=g)
    inside = torch.zeros(pictures, side, side, dtype=torch.bool)
    inside[:, side // 4 : side // 2, side // 4 : side // 2] = True
    label = torch.arange(pictures) % CLASSES
    kind = torch.arange(pictures).remainder(3 if meta else 1).to(torch.uint8)
    return Batch(images, inside, label, label, kind, torch.arange(pictures), torch.arange(pictures))


class Counted:
    """Counts the bytes that a rank gives to others."""

    def __init__(self) -> None:
        self.bytes, self.calls = 0, 0

    def of(self, function, place: int):
        def counted(*args, **kwargs):
            self.bytes, self.calls = self.bytes + args[place].nbytes, self.calls + 1
            return function(*args, **kwargs)

        return counted


def measure(method: str, settings: dict, pictures: int, side: int, model: str, norm: str) -> dict[str, float]:
    """Take some steps as a rank; return seconds a step, and bytes and exchanges a step."""
    ranks = ranks_of(os.environ, norm)
    generator = torch.Generator().manual_seed(0)
    network = build_model(model, CLASSES, [0.5] * 3, [0.25] * 3, generator).train()
    label = torch.arange(1000) % CLASSES
    context = Context(method, TrainTable(label, label, CLASSES, CLASSES), generator)
    chosen = build_method(make_options(method, {}), context)
    optimiser = build_optimiser(network, heads(network), SgdSettings())
    rule = StepRule(MetaStepSettings(**settings), SaliencySettings(), ranks=ranks)
    train, meta = batch_of(pictures, side, 1, False), batch_of(pictures, side, 2, True)
    chosen.enter(0, network)
    with split_passes(network, ranks):
        for step in range(WARM + STEPS):
            if step == WARM:
                counter, start = Counted(), time.perf_counter()
                plain = dist.all_reduce, dist.all_gather
                dist.all_reduce, dist.all_gather = counter.of(plain[0], 0), counter.of(plain[1], 1)
            train_step(network, chosen, optimiser, train, meta if chosen.learned else None, rule, step)
        seconds = (time.perf_counter() - start) / STEPS
        dist.all_reduce, dist.all_gather = plain
    return {"seconds": seconds, "bytes": counter.bytes / STEPS, "exchanges": counter.calls / STEPS}


def rank(arguments: argparse.Namespace) -> None:
    """Do all cases as one rank; rank 0 prints them."""
    torch.set_num_threads(1)
    ranks = ranks_of(os.environ)
    with joined(ranks):
        found = {
            name: measure(method, settings, arguments.pictures, arguments.side, arguments.model, arguments.norm)
            for name, (method, settings) in CASES.items()
        }
    if ranks.is_first:
        print(json.dumps(found))


def team(size: int, words: list[str]) -> dict[str, dict[str, float]]:
    """Start so many ranks; return what rank 0 measured."""
    with contextlib.closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    own = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--rank", *words]
    processes = [
        subprocess.Popen(command, env=os.environ | own | {"RANK": str(k), "LOCAL_RANK": str(k)}, stdout=subprocess.PIPE)
        for k in range(size)
    ]
    said = [process.communicate()[0] for process in processes]
    return json.loads(said[0].splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rank", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--norm", default=SYNCHRONISED, choices=BATCH_NORMS)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.rank:
        rank(arguments)
        return
    words = ["--pictures", str(arguments.pictures), "--side", str(arguments.side), "--model", arguments.model]
    kinds = {"one": 1, **dict.fromkeys(BATCH_NORMS, 2)}
    rounds = [
        {kind: team(size, words if size == 1 else [*words, "--norm", kind]) for kind, size in kinds.items()}
        for _ in range(arguments.rounds)
    ]
    rows = {}
    for name, kind in ((name, kind) for name in CASES for kind in BATCH_NORMS):
        one, two = ([each[which][name] for each in rounds] for which in ("one", kind))
        rows[f"{name}, batch norm {kind}"] = {
            "seconds a step, 1 rank": statistics.median(each["seconds"] for each in one),
            "seconds a step, 2 ranks": statistics.median(each["seconds"] for each in two),
            "ratio": statistics.median(a["seconds"] / b["seconds"] for a, b in zip(one, two, strict=True)),
            "bytes a step and rank": two[0]["bytes"],
            "exchanges a step": two[0]["exchanges"],
        }
        print(name, kind, json.dumps(rows[f"{name}, batch norm {kind}"]))
    found = {
        "machine": platform.machine(), "cores": os.cpu_count(), "torch": torch.__version__, "model": arguments.model,
        "pictures": arguments.pictures, "side": arguments.side, "rounds": arguments.rounds, "cases": rows,
    }  # fmt: skip
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
