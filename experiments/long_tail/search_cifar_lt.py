"""What does CLP need on a long tail? CIFAR-10-LT 100:1, ResNet-8 from scratch, judged on val pictures alone.

    python -m experiments.long_tail.search_cifar_lt --data DIR --work DIR [--seeds 0 1 2] [--rows PART ...]

Hypotheses, each with the rows that could refute it:
1. Omega spends its steps on finding the class prior: started at it (log prior), with steps small enough to keep it, CLP
   is better than from zero, and better than logit adjustment, which has that start and no meta step;
2. the counterfactuals and factuals push the common classes down, and Meta-LP, which has none, does not overshoot;
3. rare classes lack gradients rather than logits: with class-balanced batches CLP does better;
4. what Omega learns on them is to raise all losses: without that part (delta centred) nothing is lost;
5. batch norm is why Omega overshoots: the meta batch is even, the training batch is not, and evaluation has the
   statistics of the latter; with these the meta loss asks for less;
6. on even batches rare classes want some of the prior beside: logit adjustment with a part of it tells.

Settings are those of preset cifar-lt-cpu without the saliency, 10 meta pictures a class, tile and random, centred
boxes; 2,000 pictures in the largest class and 500 val pictures a class, out of the training pictures. DIR of --data
holds cifar10_jpeg.h5. No test picture is looked at, none is even unpacked.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch.nn import functional as F

from clp_train.algorithm.characteristics import View
from clp_train.algorithm.objective import Terms
from clp_train.algorithm.stages import Stage, plan
from clp_train.methods.clp import Clp
from clp_train.running.assembly import Assembly
from experiments.common import runner
from experiments.common.searching import Row, arguments_of, search, with_method
from experiments.long_tail import cifar_lt

RESULTS = Path(__file__).parent / "results"
PRESET, VAL = "cifar-lt-cpu", 500
PRIOR, EVEN, FALLS = "omega_start=log-prior", "batches=class", "omega_schedule=network"
SMALL, RUNNING = "omega_lr=1e-4", "meta_batch_norm=running"
BEFORE = ("batches=natural", "omega_lr=1e-3", "omega_schedule=constant")
"""CLP's settings before this search, whose choice the preset has by now."""


class Centred(Clp):
    """Takes off each label's delta what it has in the mean over the batch beyond the mean of the other classes."""

    def terms(self, view: View) -> Terms:
        delta = super().terms(view).delta
        own = F.one_hot(view.label, delta.shape[1]).to(delta)
        push = (delta * (own - (1 - own) / (delta.shape[1] - 1))).sum(1)
        return Terms(delta=delta - own * push.mean())


def even_batches(assembly: Assembly) -> Assembly:
    """Let all classes be drawn equally often."""
    run = assembly.config.run
    return replace(assembly, stages=plan((Stage(sampler="class"),), run.epochs, run.trainable))


ROWS = {
    "ERM": Row("erm"),
    "control: logit adjustment": Row("logit-adjust"),
    "control: class-balanced sampling": Row("group-sample"),
    "CLP": Row("clp", BEFORE, explained=True),
    "1: log prior, Omega's step 1e-3": Row("clp", (*BEFORE, PRIOR), explained=True),
    "1: log prior, Omega's step 1e-4": Row("clp", (*BEFORE, PRIOR, SMALL), explained=True),
    "1: log prior, step 1e-4 falls": Row("clp", (*BEFORE, PRIOR, SMALL, FALLS), explained=True),
    "2: Meta-LP, log prior, step 1e-4 falls": Row("meta-lp", (*BEFORE, PRIOR, SMALL, FALLS), explained=True),
    "3: even batches, step falls": Row("clp", (*BEFORE, EVEN, FALLS), explained=True),
    "3: even batches, step 1e-4 falls": Row("clp", (*BEFORE, EVEN, SMALL, FALLS), explained=True),
    "3: even batches, Meta-LP, step 1e-4 falls": Row("meta-lp", (*BEFORE, EVEN, SMALL, FALLS)),
    "4: even batches, centred, step falls": Row("clp", (*BEFORE, EVEN, FALLS), with_method(Centred), True),
    "5: running, log prior, step falls": Row("clp", (*BEFORE, PRIOR, FALLS, RUNNING), explained=True),
    "5: running, log prior, step 1e-4 falls": Row("clp", (*BEFORE, PRIOR, SMALL, FALLS, RUNNING), explained=True),
    "5: running, even batches, step falls": Row("clp", (*BEFORE, EVEN, FALLS, RUNNING), explained=True),
    "5: running, even batches, step 1e-4 falls": Row("clp", (*BEFORE, EVEN, SMALL, FALLS, RUNNING), explained=True),
    "6: even batches, a quarter of the log prior": Row("logit-adjust", ("tau=0.25",), even_batches),
    "6: even batches, half of the log prior": Row("logit-adjust", ("tau=0.5",), even_batches),
}


def settings_of(root: str) -> dict[str, Any]:
    """Return the settings of all rows; the pictures are a folder, which no preset is for."""
    return {"root": root, "saliency_lambda": 0.0, "preset": None}


def main() -> None:
    """Unpack, make a shard a seed, train every row that is not done."""
    arguments = arguments_of(__doc__, RESULTS / "search_cifar_lt.json")
    pictures = pictures_of(arguments.data, arguments.work)
    settings = settings_of(str(pictures))
    search(ROWS, arguments, PRESET, settings, lambda seed: shard_of(arguments.work, pictures, seed))


def pictures_of(data: Path, work: Path) -> Path:
    """Return the folder of training and val pictures, unpacked now unless it is there."""
    pictures = work / "cifar10-search"
    if not pictures.exists():
        cifar_lt.unpack(data / "cifar10_jpeg.h5", work / "unpacking", VAL, test=False)
        (work / "unpacking").rename(pictures)
    return pictures


def shard_of(work: Path, pictures: Path, seed: int) -> Path:
    """Return the shard of a seed, made now unless it is there."""
    path = work / f"cifar10-search-seed{seed}.h5"
    if not path.exists():
        runner.command("clp-augment", [
            "--dataset", "folder", "--root", str(pictures), "--imbalance", "100", "--meta", "10/class",
            "--cf", "tile", "--f", "random", "--matte", "centre", "--seed", str(seed), "--out", str(path), "--quiet",
        ])  # fmt: skip
    return path


if __name__ == "__main__":
    main()
