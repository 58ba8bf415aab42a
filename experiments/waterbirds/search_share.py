"""Where should the share of the background stop, and when does the meta step know more than its start?

    python -m experiments.waterbirds.search_share --data DIR --work DIR --case CASE [--seeds 3 4 5 6 7]
        [--rows PART ...]

A head on frozen features of waterbirds_like at 160 px, preset waterbirds-probe, val pictures alone; the meta set
is 20 pictures of each class that nobody sorted. Seeds 3 and 4 made the hypotheses, the others were run to test them.
Cases:
- honest: counterfactuals by tile, factuals before another class's background;
- counterfactuals: the same without factuals, where the share went on beyond 1;
- sharp, flat: the background's log probabilities times 2.5 or 0.4, as of a classifier that is too sure or not sure
  enough, so that the right share is 0.4 or 2.5;
- leak: boxes of 0.6 of each side, so that the object's rim stays in what is called background.

Hypotheses, each with the rows that could refute it:
1. a counterfactual that asks for "not y" of two classes asks its background to speak for the other one, and that is why
   the share goes on; asked to speak for none, it stops where it should: chance against not-y, and against stops that
   know nothing of it (a bound at 1, a pull towards 1, a falling step, no push below chance: hinge);
2. what Omega learns beside the share harms: none against Omega's step of 3e-4 and less;
3. in honest cases the meta step is level with its start; where the start's share is wrong it is ahead.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from clp_train.algorithm import losses
from clp_train.algorithm.method import Scores
from clp_train.methods.background_adjust import BackgroundAdjust
from clp_train.methods.clp import Clp
from clp_train.running.assembly import Assembly
from experiments.common import runner
from experiments.common.searching import Row, arguments_of, search, with_method
from experiments.waterbirds.search_waterbirds import WatchingShare

RESULTS = Path(__file__).parent / "results"
SHARE = ("omega_start=background", "background_share=0", "background_step=3e-2")
ALONE, OMEGA = (*SHARE, "omega_form=none"), (*SHARE, "omega_lr=3e-4")
CHANCE = "counterfactual_target=chance"
FACTOR = {"sharp": 2.5, "flat": 0.4}
RIM = 0.6  # of a box's sides that is left where it leaks


class Bounded(WatchingShare):
    """The share stays within 0 and 1."""

    def update(self, gradients: Any) -> None:
        super().update(gradients)
        with torch.no_grad():
            self.share.clamp_(0, 1)


class Pulled(WatchingShare):
    """The share is pulled towards 1 by a third of its learning rate a step."""

    def update(self, gradients: Any) -> None:
        super().update(gradients)
        with torch.no_grad():
            self.share.add_(-0.3 * self.rates[-1] * (self.share - 1))


def hinge_loss(logits: Tensor, label: Tensor) -> Tensor:
    """Return eq. (3) down to what chance has, and no further: (n,)."""
    return losses.counterfactual_loss(logits, label).clamp(min=-math.log(1 - 1 / logits.shape[1]))


class Hinge(WatchingShare):
    """A counterfactual is content where y is no more likely than by chance."""

    counterfactual_target = "hinge"


losses.COUNTERFACTUAL_LOSSES["hinge"] = hinge_loss
watching = with_method(WatchingShare)
ROWS = {
    "ERM": Row("erm"),
    "UW": Row("uw"),
    "start": Row("background-adjust"),
    "Meta-LP": Row("meta-lp", OMEGA, watching),
    "Meta-LP, none": Row("meta-lp", ALONE, watching),
    "not-y, Omega": Row("clp", OMEGA, watching),
    "not-y, Omega, bound": Row("clp", OMEGA, with_method(Bounded)),
    "not-y, Omega, step falls": Row("clp", (*OMEGA, "omega_schedule=network"), watching),
    "not-y, Omega 3e-5": Row("clp", (*SHARE, "omega_lr=3e-5"), watching),
    "not-y, none": Row("clp", ALONE, watching),
    "not-y, none, bound": Row("clp", ALONE, with_method(Bounded)),
    "not-y, none, pull": Row("clp", ALONE, with_method(Pulled)),
    "hinge, Omega": Row("clp", OMEGA, with_method(Hinge)),
    "hinge, none": Row("clp", ALONE, with_method(Hinge)),
    "chance, Omega": Row("clp", (*OMEGA, CHANCE), watching),
    "chance, Omega 3e-5": Row("clp", (*SHARE, "omega_lr=3e-5", CHANCE), watching),
    "chance, none": Row("clp", (*ALONE, CHANCE), watching),
    "chance, none, from 1": Row("clp", ("omega_start=background", "background_step=3e-2", "omega_form=none", CHANCE),
                                watching),
}  # fmt: skip
CASES = {"honest": "mix-rand", "counterfactuals": "", "sharp": "mix-rand", "flat": "mix-rand", "leak": "mix-rand"}


def with_factor(changed: Callable[[Assembly], Assembly], factor: float) -> Callable[[Assembly], Assembly]:
    """Return what multiplies the background's log probabilities by a factor, too, for CLP and for its start."""

    class Surer(Clp):
        def begin_epoch(self, epoch: int, epochs: int, scores: Scores) -> None:
            super().begin_epoch(epoch, epochs, scores)
            if epoch == 0 and self.prior is not None:
                self.prior = (factor * self.prior).log_softmax(1)

    class SurerStart(BackgroundAdjust):
        def begin_epoch(self, epoch: int, epochs: int, scores: Scores) -> None:
            super().begin_epoch(epoch, epochs, scores)
            if epoch == 0:
                self.prior = (factor * self.prior).log_softmax(1)

    def both(assembly: Assembly) -> Assembly:
        made = changed(assembly)
        part = {Clp: Surer, BackgroundAdjust: SurerStart}
        found = next((part[kind] for kind in part if isinstance(made.method, kind)), None)
        return made if found is None else with_method(found)(made)

    return both


def main() -> None:
    """Make a shard a seed, train every row that is not done."""
    arguments = arguments_of(__doc__, None, size=160, cases=list(CASES))
    arguments.out = arguments.out or RESULTS / f"search_share_{arguments.case}.json"
    root = arguments.data / "waterbirds_like"
    factor = FACTOR.get(arguments.case)
    rows = {n: row._replace(changed=with_factor(row.changed, factor)) if factor else row for n, row in ROWS.items()}
    settings = {"root": str(root), "cache": str(arguments.work / "cache"), "omega_start": "zero"}
    search(
        rows, arguments, "waterbirds-probe", settings, lambda seed: shard_of(arguments.case, root, arguments.work, seed)
    )


def shard_of(case: str, root: Path, work: Path, seed: int) -> Path:
    """Return the shard of a case and a seed, made now unless it is there."""
    boxes, fill = work / "leaking.csv", CASES[case]
    name = "-".join(filter(None, ["share", "leak" if case == "leak" else "", fill or "cf"]))
    path = work / f"{name}-seed{seed}.h5"
    if case == "leak" and not boxes.exists():
        boxes.write_text(leaking_boxes(root))
    if not path.exists():
        runner.command("clp-augment", [
            "--dataset", "waterbirds", "--root", str(root), "--cf", "tile", *(("--f", fill) if fill else ()),
            *(("--boxes", str(boxes)) if case == "leak" else ()),
            "--size", "160", "--meta", "20/class", "--seed", str(seed), "--out", str(path), "--quiet",
        ])  # fmt: skip
    return path


def leaking_boxes(root: Path) -> str:
    """Return a table of boxes, RIM of the sides of those of the masks, as clp-augment reads it."""
    lines = ["file,x0,y0,x1,y1"]
    for row in csv.DictReader((root / "metadata.csv").open()):
        with Image.open(root / "masks" / Path(row["img_filename"]).with_suffix(".png").name) as mask:
            ys, xs = np.nonzero(np.asarray(mask.convert("L")) > 127)
        sides = [middle_part(values.min(), values.max() + 1) for values in (xs, ys) if len(values)]
        if sides:
            (x0, x1), (y0, y1) = sides
            lines.append(f"{row['img_filename']},{x0},{y0},{x1},{y1}")
    return "\n".join(lines) + "\n"


def middle_part(low: int, high: int) -> tuple[int, int]:
    """Return the middle RIM of an interval of pixels, half open."""
    rim = (1 - RIM) * (high - low) / 2
    return round(low + rim), round(high - rim)


if __name__ == "__main__":
    main()
