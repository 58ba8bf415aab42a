"""Let calls on files fail, and look at what a user is told, what lies there, and whether a second run mends it.

    python -m tests.campaigns.io_faults --work DIR --out io_faults.json --cases 1500 --workers 2
    python -m tests.campaigns.io_faults --work DIR --out reads.json --cases 500 --reads

A case is a run in which the n-th call below its folder gives an error number: a full disk (ENOSPC) and one that became
read-only (EROFS) from there on, EIO, EMFILE and EACCES once. With --reads the calls are those that open and read the
inputs. Good verdicts: "refused" (exit code 3, or 2, and one line "error: ..."), "tolerated" (exit code 0 and the same
files, or one that the next run makes). Bad ones: "Traceback", "Killed", "Hung", "Code" (another exit code), "Lines"
(other output than one line), "Partial" (a file under its final name that is not what it should be), "Different" and
"Stuck" (what the next runs leave, as in kills.py).
"""

from __future__ import annotations

import errno
import random
import sys
import time
from typing import Any

from tests.campaigns.campaign import Desk, Reference, main, told
from tests.campaigns.forks import HUNG, Ended
from tests.campaigns.kills import sample
from tests.campaigns.scenarios import SCENARIOS, Scenario
from tests.campaigns.shim import FAIL, Call, Fault
from tests.campaigns.trees import finished, leftovers, partial, tree_of

PERSISTENT = ("ENOSPC", "EROFS")
OPENING = ("create", "open", "open-read", "mkdir", "rename", "link")
ERRORS = {
    "ENOSPC": ("create", "open", "write", "allocate", "truncate", "fsync", "mkdir", "rename", "link"),
    "EROFS": ("create", "open", "write", "allocate", "truncate", "mkdir", "rename", "link", "unlink", "rmdir"),
    "EIO": (),
    "EMFILE": ("create", "open", "open-read"),
    "EACCES": (*OPENING, "unlink", "rmdir"),
}
"""Error -> the operations that can give it; all of them when empty."""
READ_ERRORS = ("EIO", "EMFILE", "EACCES")
READS = "--reads"


def fail_all(desk: Desk, name: str, scenario: Scenario, quota: int) -> None:
    """Do this worker's share of a scenario's cases."""
    reads = READS in desk.options.flags
    reference = desk.reference(name, scenario, reads)
    errors = READ_ERRORS if reads else tuple(ERRORS)
    points = sample(reference.calls, quota, f"{desk.options.seed} {name}")
    all_cases = {
        f"{name} {error} {at}": (error, at)
        for at in points
        for error in errors
        if can_give(error, reference.calls[at - 1])
    }
    names = random.Random(f"{desk.options.seed} {name}").sample(list(all_cases), min(quota, len(all_cases)))
    for case in desk.mine(names):
        error, at = all_cases[case]
        start = time.monotonic()
        outcome = fail_once(desk, scenario, reference, error, at, reads)
        call = reference.calls[at - 1]
        about = {"call": f"{call.operation} {call.path.removeprefix(str(desk.out))}", "error": error}
        desk.record.add({"case": case, "of": name, **about, **outcome, "seconds": round(time.monotonic() - start, 3)})


def can_give(error: str, call: Call) -> bool:
    """Whether a call can fail with an error."""
    return not ERRORS[error] or call.operation in ERRORS[error]


def fail_once(desk: Desk, scenario: Scenario, reference: Reference, error: str, at: int, reads: bool) -> dict[str, Any]:
    """Run with one fault, then without, and return the verdict."""
    desk.clear()
    folder = desk.data if reads else desk.out
    fault = Fault(folder, FAIL, at, getattr(errno, error), persistent=error in PERSISTENT, reads=reads)
    ended = desk.run(scenario, fault)
    fired, left = bool(desk.shim.control.fired), tree_of(desk.out)
    broken = partial(left, reference.final)
    endings = desk.go_on(scenario)
    verdict = verdict_of_end(ended, scenario) or verdict_of_files(broken, endings, desk, reference)
    if verdict is None:
        verdict = "tolerated" if ended.code == 0 else "refused"
    facts: dict[str, Any] = {"verdict": verdict, "fired": fired, "failed": told(ended)}
    if verdict[0].isupper():
        facts |= {"steps": [told(step) for step in endings], "partial": broken, "left": leftovers(left)}
        facts |= {"end": ended.err[-1500:] if ended.traceback else ""}
    return facts


def verdict_of_end(ended: Ended, scenario: Scenario) -> str | None:
    """Return what is wrong with how a run ended and what it said, None for nothing."""
    if ended.traceback:
        return "Traceback"
    if ended.code == HUNG:
        return "Hung"
    if ended.code < 0:
        return "Killed"
    if ended.code not in (0, 2, 3):
        return "Code"
    return None if ended.is_one_line(scenario.queue) else "Lines"


def verdict_of_files(broken: list[str], endings: list[Ended], desk: Desk, reference: Reference) -> str | None:
    """Return what is wrong with what lies there after the fault, and after the next runs; None for nothing."""
    if broken:
        return "Partial"
    if any(ended.traceback for ended in endings):
        return "Traceback"
    if finished(tree_of(desk.out)) != reference.final:
        return "Different" if endings[-1].code == 0 else "Stuck"
    return None


if __name__ == "__main__":
    sys.exit(main("tests.campaigns.io_faults", __doc__.partition("\n")[0], SCENARIOS, fail_all, 1500, (READS,)))
