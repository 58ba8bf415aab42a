"""Kill runs at every call that changes a file, go on as a user would, and compare what they leave in the end.

    python -m tests.campaigns.kills --work DIR --out kills.json --cases 1500 --workers 2

A case is a run that is killed before its n-th call that opens, writes, syncs, renames, makes or removes something, or
in the middle of it, with all its processes; every fourth one a second time, while it goes on. Then its command is given
again with --resume, and as the messages say. The verdict is "identical" when every file is what an undisturbed run
leaves and nothing else stays; anything else is bad: "Different",
"Partial" (a file under its final name that is not what it should be, right after the kill), "Traceback", "Stuck" (the
messages do not lead to the end), "Litter" (something of the killed run stays).
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tests.campaigns.campaign import Desk, Reference, main, told
from tests.campaigns.scenarios import SCENARIOS, Scenario
from tests.campaigns.shim import KILL_BEFORE, KILL_WITHIN, Call, Fault
from tests.campaigns.trees import finished, leftovers, partial, tree_of

MODES = {"before": KILL_BEFORE, "within": KILL_WITHIN}
TWICE = 4  # of so many runs one is killed again while it goes on
OTHERS = 0.7  # most of a sample that are other calls than writes


def kill_all(desk: Desk, name: str, scenario: Scenario, quota: int) -> None:
    """Do this worker's share of a scenario's cases."""
    reference = desk.reference(name, scenario)
    points = sample(reference.calls, -(-quota // len(MODES)), f"{desk.options.seed} {name}")
    cases = {f"{name} {mode} {at}": (mode, at) for at in points for mode in MODES}
    for case in desk.mine(list(cases)[:quota]):
        mode, at = cases[case]
        start = time.monotonic()
        draw = random.Random(f"{desk.options.seed} {case}")
        second = draw.randint(1, len(reference.calls)) if draw.randrange(TWICE) == 0 else None
        outcome = kill_once(desk, scenario, reference, (mode, at), second)
        call = reference.calls[at - 1]
        about = {"call": f"{call.operation} {call.path.removeprefix(str(desk.out))}"}
        desk.record.add({"case": case, "of": name, **about, **outcome, "seconds": round(time.monotonic() - start, 3)})


def sample(calls: Sequence[Call], size: int, key: str) -> list[int]:
    """Return numbers of calls, from 1: all of them, or other calls than writes first, for most places are writes."""
    numbers = list(range(1, len(calls) + 1))
    if len(numbers) <= size:
        return numbers
    draw = random.Random(key)
    writes = [n for n in numbers if calls[n - 1].operation == "write"]
    others = [n for n in numbers if calls[n - 1].operation != "write"]
    most = max(round(OTHERS * size), size - len(writes))
    others = draw.sample(others, min(most, len(others)))
    return sorted(others + draw.sample(writes, min(len(writes), size - len(others))))


def kill_once(
    desk: Desk, scenario: Scenario, reference: Reference, first: tuple[str, int], second: int | None
) -> dict[str, Any]:
    """Kill a run at one call, go on, and return the verdict.

    first: before or within a call, and which; second: the call at which the run that goes on is killed too, if it is.
    Where a command has others run theirs, every second kill is of the process group that makes the call alone.
    """
    mode, at = first
    desk.clear()
    everyone = not scenario.queue or at % 2 == 0
    killed = desk.run(scenario, Fault(desk.out, MODES[mode], at, everyone=everyone), sweep=everyone)
    broken = partial(tree_of(desk.out), reference.final)
    if second is not None:
        again = replace(scenario, command=scenario.command + (" --resume" if scenario.resumes else ""))
        desk.run(again, Fault(desk.out, KILL_BEFORE, second))
        broken += partial(tree_of(desk.out), reference.final)
    facts: dict[str, Any] = {"second": second, "fired": bool(desk.shim.control.fired), "killed": told(killed)}
    endings = desk.go_on(scenario)
    tree = tree_of(desk.out)
    verdict = verdict_of(broken, [killed, *endings], tree, reference)
    if verdict != "identical":
        wrong = {*finished(tree).items()} ^ {*reference.final.items()}
        facts |= {"steps": [told(ended) for ended in endings], "partial": broken, "left": leftovers(tree)}
        facts |= {"wrong": sorted({path for path, _ in wrong})}
    return {"verdict": verdict, **facts}


def verdict_of(broken: list[str], endings: Sequence[Any], tree: dict[str, str], reference: Reference) -> str:
    """Return the verdict on a case; the worst that can be said of it."""
    if any(ended.traceback for ended in endings):
        return "Traceback"
    if broken:
        return "Partial"
    if finished(tree) != reference.final:
        return "Different" if endings[-1].code == 0 else "Stuck"
    if set(leftovers(tree)) - set(leftovers(reference.tree)):
        return "Litter"
    return "identical"


if __name__ == "__main__":
    sys.exit(main("tests.campaigns.kills", __doc__.partition("\n")[0], SCENARIOS, kill_all, 1500))
