"""Cut the power around every fsync, put what may be left back on the disk, and look at what is accepted of it.

    python -m tests.campaigns.power --work DIR --out power.json --cases 2000 --workers 2

A run is recorded once with all that it writes. A case is a moment (right before or after one of its fsyncs, its end,
and others between) and a way to lose what was not synced (disk.py, LOSSES). What is left is laid down, and a user
goes on: looks at what stands there under its final name, and gives the command again, as the messages say. The
good verdict is "identical": in the end every file is that of an undisturbed run. Bad ones: "Accepted" (clp-inspect
--verify or a training takes a shard that is not what was written, or a command says that all is there, and it is not),
"Different" (a command ends well, and a file is not what it should be), "Traceback", "Stuck" (the messages do not lead
to the end).
"""

from __future__ import annotations

import random
import shutil
import sys
import time
from collections.abc import Sequence
from typing import Any

from tests.campaigns import shim
from tests.campaigns.campaign import Desk, Reference, main, told
from tests.campaigns.disk import LOSSES, rebuild
from tests.campaigns.forks import Ended
from tests.campaigns.recovery import COMPLETE
from tests.campaigns.scenarios import AUGMENTATIONS, FITS, PAGES, SETS, TABLES, TRAININGS, Scenario
from tests.campaigns.trees import finished, tree_of

SHARD = "x.h5"
SCENARIOS = {
    **{name: AUGMENTATIONS[name] for name in ("augment", "augment-fills", "augment-networks")},
    **{name: TRAININGS[name] for name in ("train-erm", "train-clp", "train-export", "train-cache", "train-head-cache")},
    **FITS,
    **SETS,
    **PAGES,
    **TABLES,
}


def cut_all(desk: Desk, name: str, scenario: Scenario, quota: int) -> None:
    """Do this worker's share of a scenario's cases."""
    reference = desk.reference(name, scenario)
    calls = recorded(desk, scenario)
    chosen = choice(len(calls), moments(calls), quota, random.Random(f"{desk.options.seed} {name}"))
    cases = {f"{name} {at} {loss}": (at, loss) for at, loss in chosen}
    for case in desk.mine(list(cases)):
        at, loss = cases[case]
        start = time.monotonic()
        outcome = cut(desk, name, scenario, reference, calls[:at], loss)
        about = {"moment": f"after {calls[at - 1].operation} {calls[at - 1].path.removeprefix(str(desk.out))}"}
        desk.record.add({"case": case, "of": name, **about, **outcome, "seconds": round(time.monotonic() - start, 3)})


def recorded(desk: Desk, scenario: Scenario) -> list[shim.Call]:
    """Run a scenario once, and return every call with what it wrote."""
    desk.clear()
    log = desk.folder / "record.log"
    log.unlink(missing_ok=True)
    desk.run(scenario, shim.Fault(desk.out, shim.RECORD, log=log))
    return shim.read_log(log)


def moments(calls: Sequence[shim.Call]) -> list[int]:
    """Return how many calls were made right before and right after each fsync, and at the end."""
    syncs = [at for at, call in enumerate(calls) if call.operation.startswith("sync")]
    return sorted({moment for at in syncs for moment in (at, at + 1) if moment} | {len(calls)})


def choice(calls: int, syncs: Sequence[int], quota: int, draw: random.Random) -> list[tuple[int, str]]:
    """Return so many cases: a loss at each moment of a sync, then the other losses there, then other moments."""
    losses = {at: draw.sample(list(LOSSES), len(LOSSES)) for at in syncs}
    first = [(at, losses[at][0]) for at in syncs]
    rest = [(at, loss) for at in syncs for loss in losses[at][1:]]
    between = [(at, draw.choice(list(LOSSES))) for at in range(1, calls) if at not in losses]
    draw.shuffle(rest)
    draw.shuffle(between)
    return [*first, *rest, *between][: max(quota, len(first))]


def cut(
    desk: Desk, name: str, scenario: Scenario, reference: Reference, calls: Sequence[shim.Call], loss: str
) -> dict[str, Any]:
    """Lay down what a power cut leaves, look at it, go on, and return the verdict."""
    desk.clear()
    rebuild(calls, desk.out, LOSSES[loss], random.Random(f"{desk.options.seed} {name} {len(calls)} {loss}"))
    left, expected = tree_of(desk.out), reference.tree.get(SHARD)
    looks = look_at_shard(desk) if left.get(SHARD, expected) != expected else []
    endings = desk.go_on(scenario)
    tree = tree_of(desk.out)
    verdict = verdict_of([*looks, *endings], looks, finished(tree) == reference.final)
    facts: dict[str, Any] = {"verdict": verdict}
    if verdict != "identical":
        wrong = {*finished(tree).items()} ^ {*reference.final.items()}
        facts |= {"steps": [told(ended) for ended in [*looks, *endings]], "left": sorted(left)}
        facts |= {"wrong": sorted({path for path, _ in wrong})}
    return facts


def look_at_shard(desk: Desk) -> list[Ended]:
    """Let the tools read a shard that is not the one that was written."""
    shard, run = str(desk.out / SHARD), desk.folder / "run"
    training = ["clp-train", "--quiet", "--meta", shard, "--root", str(desk.data / "folder"), "--epochs", "1"]
    training += ["--batch-size", "12", "--model", "resnet8", "--method", "erm", "--out", str(run)]
    shutil.rmtree(run, ignore_errors=True)
    return [desk.server.run(["clp-inspect", shard, "--verify"]), desk.server.run(training)]


def verdict_of(endings: Sequence[Ended], looks: Sequence[Ended], identical: bool) -> str:
    """Return the verdict on a case."""
    if any(ended.traceback for ended in endings):
        return "Traceback"
    if any(ended.code == 0 for ended in looks):
        return "Accepted"
    if identical:
        return "identical"
    if COMPLETE.search(endings[-1].err):
        return "Accepted"
    return "Different" if endings[-1].code == 0 else "Stuck"


if __name__ == "__main__":
    sys.exit(main("tests.campaigns.power", __doc__.partition("\n")[0], SCENARIOS, cut_all, 2000))
