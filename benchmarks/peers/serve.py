"""What a peer's process does: it reads a command a line, and answers in a line of JSON.

    steps K       takes K steps: {"seconds", "cpu", "rss", "peak", "loss"}, memory in megabytes
    state FILE    writes the gradient of the first meta step, and the network's weights now: {"scale"}
    facts         {"python", "torch", and versions of packages}

The first line is {"ready": rss}, or {"left out": reason} where the peer cannot do it.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from task import BLOCKS, RATE, FirstNoted, Task
from torch import Tensor
from torch.nn.utils import vector_to_parameters


class Peer(NamedTuple):
    """One way to do the task.

    steps: takes so many steps, and returns a loss of the last, or nan; meta_optimiser: returns the weight net's;
    weights: returns the network's, in its order; packages: whose versions belong to the figures; scale: what the first
    gradient is to be multiplied by where a peer leaves out a constant.
    """

    steps: Callable[[int], float]
    meta_optimiser: Callable[[], FirstNoted]
    weights: Callable[[], list[Tensor]]
    packages: tuple[str, ...] = ()
    scale: float = 1.0


def megabytes(field: str) -> float:
    """Return a figure of this process's memory, VmRSS or VmHWM."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else float("nan")


def take(peer: Peer, count: int) -> dict[str, float]:
    """Take steps; return what they took."""
    begin, cpu = time.perf_counter(), time.process_time()
    loss = peer.steps(count)
    seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    return {"seconds": seconds, "cpu": cpu, "rss": megabytes("VmRSS"), "peak": megabytes("VmHWM"), "loss": loss}


def state(peer: Peer, file: str) -> dict[str, float]:
    """Write the first gradient and the weights, each as one float64 vector; before a meta step there is no gradient."""
    vectors = {"gradient": peer.meta_optimiser().first or [], "weights": peer.weights()}
    flat = {name: [t.detach().double().flatten() for t in tensors] for name, tensors in vectors.items()}
    torch.save({name: torch.cat(parts) if parts else None for name, parts in flat.items()}, file)
    return {"scale": peer.scale}


def facts(peer: Peer) -> dict[str, str]:
    """Return the versions of what computes."""
    versions = {name: importlib.metadata.version(name) for name in peer.packages}
    return {"python": platform.python_version(), "torch": torch.__version__, **versions}


def main(make: Callable[[Task, str], Peer]) -> None:
    """Make the peer of a task and a word of its own, and answer until the input ends.

    What is printed by others goes to the error output. A make that cannot raises SystemExit with the reason.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--how", default="")
    parser.add_argument("--pictures", type=int, required=True)
    parser.add_argument("--blocks", type=int, default=BLOCKS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rate", type=float, default=RATE)
    parser.add_argument("--start", help="a file that `state` wrote: the weights to begin with")
    parser.add_argument("--double", action="store_true")
    arguments = parser.parse_args()
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    sys.stdout = sys.stderr

    def answer(found: dict) -> None:
        answers.write(json.dumps(found) + "\n")
        answers.flush()

    torch.set_num_threads(arguments.threads)
    try:
        dtype = torch.float64 if arguments.double else torch.float32
        task = Task(arguments.pictures, arguments.blocks, dtype, arguments.rate)
        if arguments.start:
            weights = torch.load(arguments.start, weights_only=True)["weights"]
            vector_to_parameters(weights.to(next(task.network.parameters())), task.network.parameters())
        peer = make(task, arguments.how)
    except SystemExit as error:
        answer({"left out": str(error)})
        return
    answer({"ready": megabytes("VmRSS")})
    for line in sys.stdin:
        word, _, rest = line.strip().partition(" ")
        if word == "steps":
            answer(take(peer, int(rest)))
        elif word == "state":
            answer(state(peer, rest))
        else:
            answer(facts(peer))
