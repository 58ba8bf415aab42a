"""What every campaign of disturbed runs shares: the command line, processes under the shim, references, resuming.

The process that is started makes inputs and shim, and starts workers of the same script; each does its share of the
cases in a folder of its own. All of them add to one record. Killed, or out of time, a campaign goes on from it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.campaigns import shim
from tests.campaigns.forks import Ended, Server
from tests.campaigns.inputs import make_inputs
from tests.campaigns.record import Record
from tests.campaigns.recovery import go_on
from tests.campaigns.scenarios import SHARDS, Scenario
from tests.campaigns.trees import Tree, finished, tree_of

SKIPPED = 77  # exit code where a campaign cannot be run on this machine


@dataclass(frozen=True)
class Options:
    """The command line. cases: of all together; seconds: after which no case is begun; part: which share of the cases
    this worker does, None for the process that starts workers; flags: those of the campaign's own that are given.
    """

    work: Path
    out: Path
    cases: int
    seconds: float
    workers: int
    seed: int
    only: list[str]
    part: int | None
    flags: list[str]


class UndisturbedError(Exception):
    """A run fails, or leaves other files each time, with nothing in its way."""


@dataclass(frozen=True)
class Reference:
    """An undisturbed run: what it leaves, and the calls below its folder in their order."""

    tree: Tree
    calls: list[shim.Call]

    @property
    def final(self) -> Tree:
        """What a finished run leaves."""
        return finished(self.tree)


class Desk:
    """Where a worker does its cases. out: the folder that commands write to; data: that of the inputs."""

    def __init__(self, options: Options) -> None:
        self.options, self.data = options, options.work / "inputs"
        self.folder = options.work / f"worker{options.part}"
        self.out = self.folder / "out"
        self.server, self.shim = Server(self.folder / "printed"), shim.Shim()
        self.record, self.start = Record(options.out), time.monotonic()

    def clear(self) -> None:
        """Empty the folder that commands write to."""
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir(parents=True)

    def run(self, scenario: Scenario, fault: shim.Fault | None = None, sweep: bool = True) -> Ended:
        """Run a scenario with a fault, in whatever the folder holds."""
        if fault is not None:
            self.shim.set(fault)
        try:
            return self.server.run(scenario.words(self.data, self.out), scenario.setting, sweep=sweep)
        finally:
            self.shim.off()

    def reference(self, name: str, scenario: Scenario, reads: bool = False) -> Reference:
        """Run a scenario undisturbed, and load what it loads. reads: log the reading of inputs, not the writing.

        Raises UndisturbedError.
        """
        self.clear()
        if scenario.once is not None:
            scenario.once()
        log = self.folder / "calls.log"
        log.unlink(missing_ok=True)
        warm = self.server.warm(scenario.words(self.data, self.out), scenario.setting)
        first = tree_of(self.out)
        self.clear()
        folder = self.data if reads else self.out
        ended = self.run(scenario, shim.Fault(folder, shim.COUNT, reads=reads, log=log))
        tree = tree_of(self.out)
        if warm.code or ended.code:
            raise UndisturbedError(f"{name}: a run ended with {warm.code}, {ended.code}: {warm.err}{ended.err}")
        if finished(tree) != finished(first):
            different = [key for key in first | tree if first.get(key) != tree.get(key)]
            raise UndisturbedError(f"{name}: two runs left different files: {different}")
        return Reference(tree, shim.read_log(log))

    def go_on(self, scenario: Scenario) -> list[Ended]:
        """Give the command again, as its messages say, until it has done its work; return how each try ended."""
        return go_on(self.server, scenario, scenario.words(self.data, self.out))

    def out_of_time(self) -> bool:
        """Whether no further case is to be begun."""
        return time.monotonic() - self.start > self.options.seconds

    def mine(self, names: Sequence[str]) -> Iterator[str]:
        """Yield those of some cases that are this worker's, and not done, while there is time."""
        for number, name in enumerate(names):
            if self.out_of_time():
                return
            if number % self.options.workers == self.options.part and name not in self.record.done:
                yield name


def quotas(scenarios: dict[str, Scenario], cases: int) -> dict[str, int]:
    """Return how many cases each scenario gets: cheap ones more than dear ones, one at least."""
    whole = sum(1 / scenario.cost for scenario in scenarios.values())
    return {name: max(1, round(cases / scenario.cost / whole)) for name, scenario in scenarios.items()}


def main(
    module: str,
    about: str,
    scenarios: dict[str, Scenario],
    do: Callable[[Desk, str, Scenario, int], None],
    cases: int,
    flags: Sequence[str] = (),
) -> int:
    """Run a campaign of disturbed runs, as `run` does. do: does a scenario's cases."""
    return run(module, about, list(scenarios), lambda options: work_on(options, scenarios, do), cases, flags)


def run(
    module: str,
    about: str,
    names: list[str],
    work: Callable[[Options], None],
    cases: int,
    flags: Sequence[str] = (),
    shimmed: bool = True,
) -> int:
    """Run a campaign. module: of the script; about: what it is; names: of what --only chooses from; work: a worker's
    part; cases: the usual number; flags: of its own; shimmed: whether workers have the shim.

    Returns the exit code: 0 when no verdict is bad. A verdict is bad when it begins with a capital letter.
    """
    options = read_options(about, names, cases, flags)
    if options.part is not None:
        work(options)
        sys.stdout.flush()
        os._exit(0)  # what was loaded for the forks is not to be tidied up
    library = None
    if shimmed:
        try:
            library = shim.build(options.work)
        except shim.NoCompilerError as error:
            print(f"skipped: {error}")
            return SKIPPED
    Record(options.out).begin()
    prepare(options)
    failed = start_workers(module, options, library)
    summary = Record(options.out).summarise({"campaign": module, "seed": options.seed, "flags": options.flags})
    print(json.dumps(summary, indent=1))
    bad = [verdict for verdict in summary["verdicts"] if verdict[0].isupper()]
    return 1 if failed or bad else 0


def read_options(about: str, names: list[str], cases: int, flags: Sequence[str]) -> Options:
    """Read the command line of a campaign."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for inputs and what is written")
    parser.add_argument("--out", type=Path, required=True, help="summary (.json), and a line a case (.jsonl) beside it")
    parser.add_argument("--cases", type=int, default=cases, help="how many cases")
    parser.add_argument("--seconds", type=float, default=1e9, help="after which no case is begun")
    parser.add_argument("--workers", type=int, default=1, help="processes side by side")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of cases")
    parser.add_argument("--only", nargs="+", default=names, choices=names, metavar="NAME", help="these alone")
    parser.add_argument("--part", type=int, help=argparse.SUPPRESS)
    for flag in flags:
        parser.add_argument(flag, dest="flags", action="append_const", const=flag, help="see the head of the script")
    given = {"flags": [], **vars(parser.parse_args())}
    given |= {"work": given["work"].resolve(), "out": given["out"].resolve(), "flags": given["flags"] or []}
    return Options(**given)


def prepare(options: Options) -> None:
    """Make the inputs and the shards of all scenarios, unless they are there."""
    data = options.work / "inputs"
    if data.exists():
        return
    beside = options.work / "inputs.part"
    shutil.rmtree(beside, ignore_errors=True)
    make_inputs(beside)
    beside.replace(data)
    (data / "table.toml").write_text((data / "table.toml").read_text().replace(str(beside), str(data)))
    try:
        for command in SHARDS.values():
            words = Scenario(command).words(data, data)
            script = "import sys; from clp_aug.cli import augment; augment(sys.argv[1:])"
            subprocess.run([sys.executable, "-c", script, *words[1:]], check=True, stdout=subprocess.DEVNULL)
    except BaseException:
        shutil.rmtree(data)
        raise


def start_workers(module: str, options: Options, library: Path | None) -> int:
    """Run the workers of a campaign, under the shim if there is one; return how many failed."""
    processes = []
    for part in range(options.workers):
        command = [sys.executable, "-m", module, *words_of(options), "--part", str(part)]
        environment = shim.environment(library, options.work / f"control{part}")
        processes.append(subprocess.Popen(command, env=environment))
    return sum(process.wait() != 0 for process in processes)


def words_of(options: Options) -> list[str]:
    """Return the command line of a worker."""
    names = ("work", "out", "cases", "seconds", "workers", "seed")
    given = [word for name in names for word in (f"--{name}", str(getattr(options, name)))]
    return [*given, *options.flags, "--only", *options.only]


def work_on(options: Options, scenarios: dict[str, Scenario], do: Callable[[Desk, str, Scenario, int], None]) -> None:
    """Do this worker's share of the cases of every scenario."""
    desk = Desk(options)
    chosen = {name: scenarios[name] for name in options.only}
    for name, quota in quotas(chosen, options.cases).items():
        if desk.out_of_time():
            break
        start = time.monotonic()
        try:
            do(desk, name, chosen[name], quota)
        except UndisturbedError as error:
            desk.record.add({"case": f"{name} undisturbed", "of": name, "verdict": "Unrun", "why": str(error)})
        print(f"[{options.part}] {name}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    shutil.rmtree(desk.folder, ignore_errors=True)


def told(ended: Ended) -> dict[str, Any]:
    """Return what a record says of how a command ended."""
    return {"code": ended.code, "said": [line[-300:] for line in ended.lines[-3:]]}
