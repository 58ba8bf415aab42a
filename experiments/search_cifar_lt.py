"""What does CLP need on a long tail? CIFAR-10-LT 100:1, ResNet-8 from scratch, judged on val pictures alone.

    python experiments/search_cifar_lt.py --data DIR --work DIR [--seeds 0 1 2] [--rows PART ...]

Hypotheses, each with the rows that could refute it:
1. Omega spends its steps on finding the class prior: started at it (log prior), with steps small enough to keep it, CLP
   is better than from zero, and better than logit adjustment, which has that start and no meta step;
2. a start at the background is the log prior where backgrounds say little, so one start serves both settings;
3. rare classes lack gradients rather than logits: class-balanced batches with CLP from zero do better than either;
4. the counterfactuals and factuals help: CLP is better than Meta-LP with all else alike.

Settings are those of preset cifar-lt-cpu without the saliency, 10 meta pictures a class, tile and random, centred
boxes; 2,000 pictures in the largest class and 500 val pictures a class, out of the training pictures. DIR of --data
holds cifar10_jpeg.h5. No test picture is looked at, none is even unpacked.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from unittest import mock

import cifar_lt
import runner
from searching import Row, arguments_of, search

from clp_train import step


VAL = 500
PRIOR, EVEN, FALLS = "omega_start=log-prior", "batches=class", "omega_schedule=network"
CENTRED = "centred=true"


@contextlib.contextmanager
def running_statistics():
    """Let the meta pass use batch norm's running statistics, as a finished network does, in place of its batch's."""
    plain = step.virtual_pass

    def judged(network, weights, images):
        network.eval()
        try:
            return plain(network, weights, images)
        finally:
            network.train()

    with mock.patch.object(step, "virtual_pass", judged):
        yield


ROWS = {
    "ERM": Row("erm"),
    "control: logit adjustment": Row("logit-adjust"),
    "control: class-balanced sampling": Row("group-sample"),
    "CLP": Row("clp", explained=True),
    "1: log prior, Omega's step 1e-4": Row("clp", (PRIOR, "omega_lr=1e-4"), explained=True),
    "1: log prior, Omega's step 1e-3": Row("clp", (PRIOR,), explained=True),
    "2: background, Omega's step 1e-4": Row("clp", ("omega_start=background", "omega_lr=1e-4")),
    "3: even batches": Row("clp", (EVEN,), explained=True),
    "3: even batches, Omega's step 1e-4": Row("clp", (EVEN, "omega_lr=1e-4"), explained=True),
    "3: even batches, step falls": Row("clp", (EVEN, FALLS), explained=True),
    "3: even batches, step 1e-4 falls": Row("clp", (EVEN, FALLS, "omega_lr=1e-4"), explained=True),
    "3: even batches, bounded, step 1e-4 falls": Row("clp", (EVEN, FALLS, "omega_lr=1e-4", "omega_form=bounded")),
    "5: log prior, step 1e-3 falls": Row("clp", (PRIOR, FALLS), explained=True),
    "5: log prior, step 1e-4 falls": Row("clp", (PRIOR, FALLS, "omega_lr=1e-4"), explained=True),
    "5: zero, step falls": Row("clp", (FALLS,), explained=True),
    "6: even batches, 0.25 log prior, no meta step": Row("clp", (EVEN, PRIOR, "start_scale=0.25", "meta_until=0")),
    "6: even batches, 0.5 log prior, no meta step": Row("clp", (EVEN, PRIOR, "start_scale=0.5", "meta_until=0")),
    "7: even batches, centred, step falls": Row("clp", (EVEN, FALLS, CENTRED), explained=True),
    "7: even batches, centred, step 1e-4 falls": Row("clp", (EVEN, FALLS, CENTRED, "omega_lr=1e-4"), explained=True),
    "7: log prior, centred, step falls": Row("clp", (PRIOR, FALLS, CENTRED), explained=True),
    "7: zero, centred, step falls": Row("clp", (FALLS, CENTRED), explained=True),
    "8: log prior, step 1e-4 falls, running statistics": Row("clp", (PRIOR, FALLS, "omega_lr=1e-4"), running_statistics, True),
    "8: log prior, step falls, running statistics": Row("clp", (PRIOR, FALLS), running_statistics, True),
    "8: zero, step falls, running statistics": Row("clp", (FALLS,), running_statistics, True),
    "8: even batches, step falls, running statistics": Row("clp", (EVEN, FALLS), running_statistics, True),
    "8: even batches, step 1e-4 falls, running statistics": Row("clp", (EVEN, FALLS, "omega_lr=1e-4"), running_statistics, True),
    "4: Meta-LP, log prior, step 1e-4 falls": Row("meta-lp", (PRIOR, FALLS, "omega_lr=1e-4"), explained=True),
    "4: Meta-LP, even batches, step 1e-4 falls": Row("meta-lp", (EVEN, FALLS, "omega_lr=1e-4")),
}


def main() -> None:
    """Unpack, make a shard a seed, train every row that is not done."""
    arguments = arguments_of(__doc__, "search_cifar_lt.json")
    pictures = pictures_of(arguments.data, arguments.work)
    settings = {"root": str(pictures), "saliency_lambda": 0.0, "preset": None}  # a folder, which no preset is for
    search(ROWS, arguments, "cifar-lt-cpu", settings, lambda seed: shard_of(arguments.work, pictures, seed))


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
