"""A step of Meta-Weight-Net by Bilevel, by plain torch and by others' libraries: same network, weights, batches, step.

    python benchmarks/peers_speed.py --out benchmarks/results/peers_speed.json --peer mwn=FOLDER --peer torchopt=PYTHON
        --peer higher=PYTHON --peer betty=PYTHON --peer betty-0.1.1=PYTHON [--part speed] [--only "Bilevel, central"]

FOLDER is a checkout of github.com/xjtushujun/meta-weight-net; PYTHON the interpreter of an environment in which the
library is installed beside torch (betty of its repository; 0.1.1 with higher). What is not given is left out. Each row
is a process of its own, which `peers/with_*.py` runs; peers/task.py says what is to be done, and needs torch alone. The
parts stand side by side in FILE, so that they can be measured one after the other:

gradient  the first meta gradient, and the weights after that step, against a double backward in float64; from drawn
          weights, from those that some plain steps led to, and from these with a lower learning rate
speed     seconds a step, all processes taking turns; by how much the peak of a process rises over what it has before
kept      the same, where glibc keeps the memory that tensors free, as clp-train tells it to (clp_aug/common/memory.py)
growth    memory and processor time over many steps, a process after the other; smaller batches, as it takes long
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import torch
from peers.processes import LeftOut, Process

from clp_train.algorithm.bilevel import MODES

HERE = Path(__file__).parent / "peers"
PLAIN, TWICE = "plain step, no meta step", "plain torch, double backward"
WARM = 2  # steps of each process before its time counts
BLOCKS_OF_GROWTH = 10
LOW_RATE = 0.01
KEEP = dict.fromkeys(("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"), str(2**31 - 1))  # glibc reads them at start


class Row(NamedTuple):
    """A way to take the step. script: of peers/; how: its word; peer: which --peer it needs, if any."""

    script: str
    how: str = ""
    peer: str | None = None


ROWS = {
    PLAIN: Row("with_torch.py", "plain"),
    **{f"Bilevel, {mode}": Row("with_bilevel.py", mode) for mode in MODES if mode != "reference"},
    TWICE: Row("with_torch.py", "double backward"),
    "Meta-Weight-Net, the authors' script": Row("with_mwn.py", peer="mwn"),
    "TorchOpt": Row("with_torchopt.py", peer="torchopt"),
    "higher": Row("with_higher.py", peer="higher"),
    "betty, unrolled": Row("with_betty.py", "unrolled", "betty-0.1.1"),
    "betty, darts": Row("with_betty.py", "darts", "betty"),
}
FOLDERS = ("mwn",)
PEERS = tuple(dict.fromkeys(row.peer for row in ROWS.values() if row.peer))


def peer_of(text: str) -> tuple[str, Path]:
    """Read NAME=PATH. Raises ArgumentTypeError for another name, and for what is not there."""
    name, _, path = text.partition("=")
    if name not in PEERS:
        raise argparse.ArgumentTypeError(f"{name!r} is no peer; expected NAME=PATH with one of {', '.join(PEERS)}")
    found, wanted = Path(path).absolute(), "a folder" if name in FOLDERS else "the python of an environment"
    if not (found.is_dir() if name in FOLDERS else found.is_file()):
        raise argparse.ArgumentTypeError(f"{name}={path}: not found; expected {wanted}")
    return name, found


def command_of(row: Row, peers: dict[str, Path]) -> list[str]:
    """Return what starts a row's process. Raises LeftOut where its peer is not given."""
    if row.peer is None:
        return [sys.executable, str(HERE / row.script), "--how", row.how]
    is_folder = row.peer in FOLDERS
    if row.peer not in peers:
        raise LeftOut(f"not given; --peer {row.peer}={'FOLDER' if is_folder else 'PYTHON'}")
    path = str(peers[row.peer])
    python, how = (sys.executable, path) if is_folder else (path, row.how)
    return [python, str(HERE / row.script), "--how", how]


def chosen(peers: dict[str, Path], only: list[str]) -> dict[str, list[str]]:
    """Return the command of each row that can be run, and say in a line why another is left out.

    only: the rows that are wanted, all if there are none. Raises SystemExit for one that there is not.
    """
    unknown = [name for name in only if name not in ROWS]
    if unknown:
        raise SystemExit(f"--only {unknown[0]}: no such row; expected one of: {'; '.join(ROWS)}")
    commands = {}
    for name in only or ROWS:
        try:
            commands[name] = command_of(ROWS[name], peers)
        except LeftOut as reason:
            print(f"{name}: left out, {reason}", flush=True)
    return commands


class Bench:
    """Starts the processes of the rows, and keeps what is found out about them.

    pictures: of a batch; blocks: of each group of the network, 5 for a ResNet-32; threads: of each process; more:
    variables of their environment.
    """

    def __init__(
        self,
        commands: dict[str, list[str]],
        pictures: int,
        blocks: int,
        threads: int,
        more: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.commands, self.versions = {PLAIN: command_of(ROWS[PLAIN], {}), **commands}, {}
        self.wanted, self.environment = list(commands), {**os.environ, **more}
        self.words = ["--pictures", str(pictures), "--blocks", str(blocks), "--threads", str(threads)]

    def start(self, name: str, *more: str) -> Process | None:
        """Return a row's process, or None, said in a line, where it cannot do it."""
        try:
            process = Process([*self.commands[name], *self.words, *more], self.environment)
        except LeftOut as reason:
            print(f"{name}: left out, {reason}", flush=True)
            return None
        self.versions[name] = process.ask("facts")
        return process

    def gradient(self, plain_steps: int) -> dict[str, dict]:
        """Return each row's errors at drawn weights, at those after some plain steps, and there with a lower rate."""
        found = {}
        with tempfile.TemporaryDirectory() as folder:
            start = Path(folder) / "start.pt"
            with Process([*self.commands[PLAIN], *self.words]) as process:
                first_state(process, start, plain_steps)
            later, low = ("--start", str(start)), ("--rate", str(LOW_RATE))
            points = {"at drawn weights": (), f"after {plain_steps} plain steps": later,
                      f"there, learning rate {LOW_RATE}": (*later, *low)}  # fmt: skip
            for title, more in points.items():
                print(title, flush=True)
                found[title] = self.errors(Path(folder), more)
        return found

    def errors(self, folder: Path, more: tuple[str, ...]) -> dict[str, dict[str, float]]:
        """Return the error of each row's first meta gradient, and of the weights' first step, against float64."""
        words = [sys.executable, str(HERE / ROWS[TWICE].script), "--how", ROWS[TWICE].how, "--double"]
        with Process([*words, *self.words, *more]) as process:
            before = first_state(process, folder / "before.pt", 0)["weights"]
            exact = first_state(process, folder / "exact.pt", 1)
        found = {}
        for name in [name for name in self.wanted if name != PLAIN]:
            process = self.start(name, *more)
            if process is None:
                continue
            with process:
                state = first_state(process, folder / "state.pt", 1)
            found[name] = {
                "cosine": cosine(state["gradient"], exact["gradient"]),
                "error": relative(state["scale"] * state["gradient"], exact["gradient"]),
                "error of the step": relative(state["weights"] - before, exact["weights"] - before),
            }
            print(name, json.dumps(found[name]), flush=True)
        return found

    def speed(self, rounds: int, steps: int) -> dict[str, dict]:
        """Return seconds a step in each round, the ratio to the plain step in the same round, and memory."""
        times: dict[str, list[float]] = {}
        with ExitStack() as stack:
            started = {name: self.start(name) for name in self.commands}
            processes = {name: stack.enter_context(process) for name, process in started.items() if process}
            for turn in range(rounds + 1):
                for name, process in processes.items():
                    last = process.ask(f"steps {steps if turn else WARM}")
                    if turn:
                        times.setdefault(name, []).append(last["seconds"] / steps)
            rows = {name: self.memory(process) for name, process in processes.items()}
        for name, seconds in times.items():
            ratios = [own / plain for own, plain in zip(seconds, times[PLAIN], strict=True)]
            rows[name] = {
                "seconds": [round(each, 4) for each in seconds], "ratio": round(statistics.median(ratios), 3),
                "ratios": [round(each, 3) for each in ratios], **rows[name],
            }  # fmt: skip
            print(name, json.dumps(rows[name]), flush=True)
        return rows

    def memory(self, process: Process) -> dict[str, float]:
        """Return by how many megabytes a process's peak rose since it was ready, and what it holds now."""
        now = process.ask("steps 1")
        rise = {"peak_megabytes": now["peak"] - process.ready, "held_megabytes": now["rss"] - process.ready}
        return {name: round(value) for name, value in rise.items()}

    def growth(self, steps: int) -> dict[str, dict]:
        """Return memory held and processor seconds a step after each tenth of many steps, a row after the other."""
        rows = {}
        for name in self.wanted:
            process = self.start(name)
            if process is None:
                continue
            with process:
                process.ask(f"steps {WARM}")
                found = [process.ask(f"steps {steps // BLOCKS_OF_GROWTH}") for _ in range(BLOCKS_OF_GROWTH)]
            rows[name] = grown([{**each, "held": each["rss"] - process.ready} for each in found], steps)
            print(name, json.dumps(rows[name]), flush=True)
        return rows


def grown(found: list[dict[str, float]], steps: int) -> dict[str, object]:
    """Return what blocks of steps say of growth: from the second block to the last, as the first fills pools."""
    a_step = [each["cpu"] / (steps / len(found)) for each in found]
    half = len(found) // 2
    return {
        "held_megabytes": [round(each["held"], 1) for each in found],
        "cpu_seconds_a_step": [round(each, 4) for each in a_step],
        "memory grown, megabytes": round(found[-1]["held"] - found[1]["held"], 1),
        "time, second half over first": round(statistics.median(a_step[half:]) / statistics.median(a_step[:half]), 3),
        "peak_megabytes": round(found[-1]["peak"] - found[-1]["rss"] + found[-1]["held"]),
    }


def first_state(process: Process, file: Path, steps: int) -> dict:
    """Return a process's first meta gradient and its weights after some steps, float64 vectors, and its scale."""
    if steps:
        process.ask(f"steps {steps}")
    scale = process.ask(f"state {file}")["scale"]
    return {**torch.load(file, weights_only=True), "scale": scale}


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    """Return the cosine of the angle between two vectors."""
    return (a @ b / a.norm() / b.norm()).item()


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    """Return |a - b| / |b|."""
    return ((a - b).norm() / b.norm()).item()


def parser_of() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=peer_of, action="append", default=[], metavar="NAME=PATH")
    parser.add_argument("--only", action="append", default=[], metavar="ROW")
    parser.add_argument("--part", action="append", choices=("gradient", "speed", "kept", "growth"))
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--plain-steps", type=int, default=50, help="before the second gradient")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=2, help="of a process in a round")
    parser.add_argument("--growth-pictures", type=int, default=4)
    parser.add_argument("--growth-steps", type=int, default=500)
    parser.add_argument("--out", type=Path)
    return parser


def main() -> None:
    """Measure the parts that are asked for, and put them beside those that the file has."""
    arguments = parser_of().parse_args()
    commands = chosen(dict(arguments.peer), arguments.only)
    result = json.loads(arguments.out.read_text()) if arguments.out and arguments.out.exists() else {}
    of_part: dict[str, Callable[[Bench], dict]] = {
        "gradient": lambda bench: bench.gradient(arguments.plain_steps),
        "speed": lambda bench: bench.speed(arguments.rounds, arguments.steps),
        "kept": lambda bench: bench.speed(arguments.rounds, arguments.steps),
        "growth": lambda bench: bench.growth(arguments.growth_steps),
    }
    for part in arguments.part or of_part:
        pictures = arguments.growth_pictures if part == "growth" else arguments.pictures
        bench = Bench(commands, pictures, arguments.blocks, arguments.threads, KEEP if part == "kept" else {})
        found = of_part[part](bench)
        place = {"pictures": pictures, "blocks": arguments.blocks, "threads": arguments.threads,
                 "cores": os.cpu_count(), "machine": platform.machine()}  # fmt: skip
        place |= {"steps": arguments.growth_steps} if part == "growth" else {}
        kept = result.get(part, {}) if arguments.only else {}
        result[part] = merged(kept, {"place": place, "rows" if part != "gradient" else "points": found})
        result["versions"] = merged(result.get("versions", {}), bench.versions)
        if arguments.out:
            arguments.out.parent.mkdir(parents=True, exist_ok=True)
            arguments.out.write_text(json.dumps(result, indent=1) + "\n")


def merged(old: dict, new: dict) -> dict:
    """Return two nested dicts as one, rows in the order of ROWS; where both have a value, the new one's."""
    both = {key: merged(old.get(key, {}), value) for key, value in new.items() if isinstance(value, dict)}
    found = {**old, **new, **both}
    return {key: found[key] for key in sorted(found, key=lambda key: [*ROWS, key].index(key))}


if __name__ == "__main__":
    main()
