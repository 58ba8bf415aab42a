"""What keeps CLP from the worst group? A head on frozen features of waterbirds_like, judged on val pictures alone.

    python -m experiments.waterbirds.search_waterbirds --data DIR --work DIR [--seeds 0 1 2] [--rows PART ...]
        [--size 160] [--meta 10/group]

Hypotheses, each with the rows that could refute it:
1. the step is at fault: other steps, forms and starts of Omega would lift the worst group;
2. the ten characteristics are at fault, which do not show the group: an Omega that is told the group would lift it;
3, 4 (in the results alone). an eleventh characteristic, the margin of the picture without its object, shows enough of
   the group. It gained too little to be kept; its rows were made by the code of ec69078;
5. what the background explains must be taken out before the first step (start at log P(class | background)), and the
   meta step then still adds something;
6. from there the kinds of meta pictures matter: without counterfactuals, with all else alike, less is gained;
7. the start is worth most as it is: a little more or less of it is worse;
8. how much of it there should be, the meta step finds from nothing;
9. it finds that without group labels, too, where the meta set is as confounded as the training set (--meta 20/class),
   since it has counterfactuals.

Settings are those of preset waterbirds-probe, 40 meta pictures, tile and random, true boxes. DIR of --data holds
waterbirds_like/. Written after every run, so that it can be stopped and started again; no test picture is looked at.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from clp_aug.contract.schema import COUNTERFACTUAL, FACTUAL, ORIGINAL
from clp_train.algorithm.characteristics import View
from clp_train.algorithm.objective import Terms
from clp_train.methods.clp import Clp
from experiments.common import runner
from experiments.common.searching import Row, Watching, arguments_of, search, with_method

RESULTS = Path(__file__).parent / "results"
PRESET = "waterbirds-probe"
START = "omega_start=background"
FROM_NOTHING = (START, "background_share=0", "background_step=3e-2")


class ToldGroups(Clp):
    """Omega sees the group and nothing else, one-hot in place of the ten characteristics."""

    def terms(self, view: View) -> Terms:
        group = torch.nn.functional.one_hot(view.group, 10).float()
        return Terms(delta=self.network(group, view.label))


class NoCounterfactuals(Clp):
    """The meta step looks at originals and factuals alone."""

    meta_kinds = (ORIGINAL, FACTUAL)


class NoFactuals(Clp):
    """The meta step looks at originals and counterfactuals alone."""

    meta_kinds = (ORIGINAL, COUNTERFACTUAL)


class NoOriginals(Clp):
    """The meta step looks at counterfactuals and factuals alone."""

    meta_kinds = (COUNTERFACTUAL, FACTUAL)


class WatchingShare(Watching, Clp):
    """Tells the share of the background in delta at the run's start and after each tenth of it."""

    def terms(self, view: View) -> Terms:
        self.seen.append(round(self.share.item(), 3))
        return super().terms(view)

    def findings(self, steps: int) -> dict[str, Any]:
        return {"share": [self.seen[i * (len(self.seen) - 1) // 10] for i in range(11)]}


told_groups, watching_the_share = with_method(ToldGroups), with_method(WatchingShare)
no_counterfactuals, no_factuals = with_method(NoCounterfactuals), with_method(NoFactuals)

ROWS = {
    "ERM": Row("erm"),
    "control: group weights": Row("group-weight"),
    "control: GroupDRO": Row("group-dro"),
    "control: meta originals alone": Row("meta-only"),
    "Meta-LP": Row("meta-lp"),
    "CLP": Row("clp", explained=True),
    "1: bounded": Row("clp", ("omega_form=bounded",)),
    "1: true class": Row("clp", ("omega_form=true-class",)),
    "1: Omega's step 1e-4": Row("clp", ("omega_lr=1e-4",)),
    "1: Omega's step 3e-4": Row("clp", ("omega_lr=3e-4",)),
    "1: Omega's step 3e-3": Row("clp", ("omega_lr=3e-3",)),
    "1: Omega's step 1e-2": Row("clp", ("omega_lr=1e-2",)),
    "1: start at the log prior": Row("clp", ("omega_start=log-prior",)),
    "1: momentum in the virtual step": Row("clp", ("virtual_momentum=true",)),
    "1: lagged meta step": Row("clp", ("meta_step=lagged",)),
    "1: weight decay 0.1": Row("clp", ("weight_decay=0.1",)),
    "1: weight decay 1": Row("clp", ("weight_decay=1",)),
    "1: twice the epochs": Row("clp", ("epochs=120",)),
    "2: told the group": Row("clp", changed=told_groups),
    "2: told the group, step 3e-3": Row("clp", ("omega_lr=3e-3",), told_groups),
    "2: told the group, bounded": Row("clp", ("omega_form=bounded",), told_groups),
    "2: told the group, Meta-LP": Row("meta-lp", changed=told_groups),
    "5: no meta step": Row("background-adjust"),
    "5: no meta step, half of it": Row("background-adjust", ("tau=0.5",)),
    "5: no meta step, twice": Row("background-adjust", ("tau=2",)),
    "5: Omega's step 1e-4": Row("clp", (START, "omega_lr=1e-4")),
    "5: Omega's step 3e-4": Row("clp", (START, "omega_lr=3e-4")),
    "5: Omega's step 1e-3": Row("clp", (START,), explained=True),
    "5: Omega's step 3e-3": Row("clp", (START, "omega_lr=3e-3")),
    "5: Meta-LP": Row("meta-lp", (START,)),
    "5: Meta-LP, Omega's step 3e-4": Row("meta-lp", (START, "omega_lr=3e-4")),
    "6: no counterfactuals": Row("clp", (START,), no_counterfactuals),
    "6: no factuals": Row("clp", (START,), no_factuals),
    "6: no originals": Row("clp", (START,), with_method(NoOriginals)),
    **{f"7: no meta step, {tau} of it": Row("background-adjust", (f"tau={tau}",)) for tau in (0.7, 0.85, 1.2, 1.4)},
    "8: share from 0": Row("clp", (*FROM_NOTHING, "omega_lr=3e-4"), watching_the_share),
    "8: share from 0, Meta-LP": Row("meta-lp", (*FROM_NOTHING, "omega_lr=3e-4"), watching_the_share),
    "8: share from 0, no counterfactuals": Row("clp", (*FROM_NOTHING, "omega_lr=3e-4"), no_counterfactuals),
    "8: share from 0, no factuals": Row("clp", (*FROM_NOTHING, "omega_lr=3e-4"), no_factuals),
    "8: share from 0, nothing else learnt": Row("clp", (*FROM_NOTHING, "omega_lr=1e-12"), watching_the_share),
    "8: share from 1, a third of the step": Row(
        "clp", (START, "omega_lr=3e-4", "background_step=1e-2"), watching_the_share
    ),
}


def settings_of(root: str, cache: str) -> dict[str, Any]:
    """Return the settings of all rows; the preset has what this search chose, so it starts from zero."""
    return {"root": root, "cache": cache, "omega_start": "zero"}


def main() -> None:
    """Make a shard a seed, train every row that is not done."""
    arguments = arguments_of(__doc__, RESULTS / "search_waterbirds.json", size=160)
    root = str(arguments.data / "waterbirds_like")
    settings = settings_of(root, str(arguments.work / "cache"))
    search(ROWS, arguments, PRESET, settings, lambda seed: shard_of(arguments, root, seed))


def shard_of(arguments: argparse.Namespace, root: str, seed: int) -> Path:
    """Return the shard of a seed, made now unless it is there."""
    meta = "" if arguments.meta == "10/group" else arguments.meta.replace("/", "-") + "-"
    path = arguments.work / f"waterbirds-{meta}{arguments.size}-seed{seed}.h5"
    if not path.exists():
        runner.command("clp-augment", [
            "--dataset", "waterbirds", "--root", root, "--cf", "tile", "--f", "random", "--size", str(arguments.size),
            "--meta", arguments.meta, "--seed", str(seed), "--out", str(path), "--quiet",
        ])  # fmt: skip
    return path


if __name__ == "__main__":
    main()
