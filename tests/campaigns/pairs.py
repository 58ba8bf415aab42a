"""Start two or three runs on one output, and look at what they leave and say.

    python -m tests.campaigns.pairs --work DIR --out pairs.json --cases 600 --workers 2

A case is a command given twice, every fifth time three times, with random pauses between. Good verdicts: "one did it"
(it left what an undisturbed run leaves, the others were refused in one line), "in turn" (several ended well, where the
command allows that of runs that come after each other), "none" (all were refused, and nothing false lies there). Bad
ones: "Different" (a file is not what it should be), "Twice" (several ended well where the second should be refused),
"Traceback", "Code" (an exit code that is none of 0, 2, 3), "Lines" (more or other output than one line), "Litter", and
"Stuck" (the next run does not come to the end).
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tests.campaigns.campaign import Desk, Reference, main, told
from tests.campaigns.forks import Ended, end_children
from tests.campaigns.scenarios import AUGMENTATIONS, FITS, SETS, TABLES, TRAININGS, Scenario
from tests.campaigns.trees import Tree, finished, leftovers, partial, tree_of

THREE = 5  # every so many cases have three runs
SPREAD = 1.2  # the longest pause, in the time of an undisturbed run
OVERWRITE, RESUME = " --overwrite", " --resume"
BASES = {
    "augment": AUGMENTATIONS["augment"],
    "train": TRAININGS["train-erm"],
    "train-cache": TRAININGS["train-head-cache"],
    "fit": FITS["fit-inpainter"],
    "data-waterbirds": SETS["data-waterbirds"],
    "data-glt": SETS["data-glt"],
    "bench": replace(TABLES["bench"], cost=10),
}
PAIRS = {
    **{name: replace(base, cost=base.cost / 2) for name, base in BASES.items()},
    "augment-overwrite": replace(BASES["augment"], command=BASES["augment"].command + OVERWRITE, cost=0.25),
    "augment-resume": replace(BASES["augment"], command=BASES["augment"].command + RESUME, cost=0.5),
    "train-resume": replace(BASES["train"], command=BASES["train"].command + RESUME),
    "fit-resume": replace(BASES["fit"], command=BASES["fit"].command + RESUME, cost=2),
}
FIRST = {"augment-overwrite": "augment", "augment-resume": "augment", "train-resume": "train", "fit-resume": "fit"}
"""A pair -> whose undisturbed run says what it should leave."""
IN_TURN = ("augment-overwrite", "bench", *(name for name in FIRST if name.endswith("resume")))
"""Pairs of which several may end well, one after the other."""


def race_all(desk: Desk, name: str, scenario: Scenario, quota: int) -> None:
    """Do this worker's share of a scenario's cases."""
    base = BASES[FIRST.get(name, name)]
    reference = desk.reference(name, base)
    desk.clear()
    seconds = desk.run(base).seconds
    for case in desk.mine([f"{name} {number}" for number in range(quota)]):
        draw = random.Random(f"{desk.options.seed} {case}")
        count = 3 if draw.randrange(THREE) == 0 else 2
        pauses = [0.0, *(draw.uniform(0, SPREAD * seconds) for _ in range(count - 1))]
        start = time.monotonic()
        outcome = race(desk, name, scenario, reference, pauses, draw.uniform(0.2, 0.9) * seconds)
        about = {"pauses": [round(pause, 3) for pause in pauses]}
        desk.record.add({"case": case, "of": name, **about, **outcome, "seconds": round(time.monotonic() - start, 3)})


def race(
    desk: Desk, name: str, scenario: Scenario, reference: Reference, pauses: Sequence[float], before: float
) -> dict[str, Any]:
    """Start the runs of one case, wait for all, and return the verdict. before: seconds of a run that they resume."""
    desk.clear()
    lay_ground(desk, name, before)
    words = scenario.words(desk.data, desk.out)
    running = []
    for pause in pauses:
        time.sleep(pause)
        running.append(desk.server.start(words, scenario.setting))
    endings = [one.wait() for one in running]
    end_children()
    tree = tree_of(desk.out)
    verdict = verdict_of(endings, tree, reference, name)
    facts: dict[str, Any] = {"runs": [told(ended) for ended in endings]}
    if verdict == "none":
        desk.go_on(BASES[FIRST.get(name, name)])
        verdict = verdict if finished(tree_of(desk.out)) == reference.final else "Stuck"
    if verdict[0].isupper():
        facts |= {"partial": partial(tree, reference.final), "left": leftovers(tree)}
        facts |= {"wrong": sorted({key for key, _ in {*finished(tree).items()} ^ {*reference.final.items()}})}
    return {"verdict": verdict, **facts}


def lay_ground(desk: Desk, name: str, seconds: float) -> None:
    """Make what a pair finds: a shard to replace, or a run that was killed after some seconds."""
    base = BASES[FIRST.get(name, name)]
    if name.endswith("overwrite"):
        desk.run(base)
    if name.endswith("resume"):
        running = desk.server.start(base.words(desk.data, desk.out), base.setting)
        running.wait(seconds)
        end_children()


def verdict_of(endings: Sequence[Ended], tree: Tree, reference: Reference, name: str) -> str:
    """Return the verdict on runs that ended so and left that."""
    if any(ended.traceback for ended in endings):
        return "Traceback"
    if any(ended.code not in (0, 2, 3) for ended in endings):
        return "Code"
    failed = [ended for ended in endings if ended.code]
    if not all(ended.is_one_line(PAIRS[name].queue) for ended in endings):
        return "Lines"
    if partial(tree, reference.final):
        return "Different"
    if len(failed) == len(endings):
        return "none"
    if finished(tree) != reference.final:
        return "Different"
    if set(leftovers(tree)) - set(leftovers(reference.tree)):
        return "Litter"
    if len(failed) == len(endings) - 1:
        return "one did it"
    return "in turn" if name in IN_TURN else "Twice"


if __name__ == "__main__":
    sys.exit(main("tests.campaigns.pairs", __doc__.partition("\n")[0], PAIRS, race_all, 600))
