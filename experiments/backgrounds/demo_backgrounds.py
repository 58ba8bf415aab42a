"""Who should say what backgrounds tell, where a network starts from nothing? The built-in set, judged on val pictures.

    python -m experiments.backgrounds.demo_backgrounds --work DIR [--seeds 0 1 2] [--rows PART ...]

95 % of the rings stand before the temple, 95 % of the crosses before the garden; ResNet-8, ten epochs, as `make demo`.

Hypotheses, each with the rows that could refute it:
1. shapes can be learnt at this length: with groups drawn evenly, every group is right;
2. a linear classifier on features of a network that has learnt nothing knows too little of the places, and what it
   leaves is learnt as before; networks that learn the backgrounds know enough;
3. the meta step adds something to that, or finds the places from zero; at the common step of Omega or at a tenth of it,
   with counterfactuals or (Meta-LP) without;
4. what is left of the gap to even groups is length: delta leaves the common pictures a slope of a twentieth, so that
   the network learns as if by a fifth of its step, from few pictures; a larger one that falls, or less of the
   background, learns more.

Written after every run, so that it can be stopped and started again; no test picture is looked at.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from clp_aug.common.progress import Watch
from clp_train.models.parts import Output
from clp_train.running.assembly import Assembly
from experiments.common import runner
from experiments.common.searching import Row, arguments_of, search

RESULTS = Path(__file__).parent / "results"
SETTINGS = {"epochs": 10, "batch_size": 50, "saliency_interval": 5}
START = "omega_start=background"
SMALL = "omega_lr=1e-4"
FALLING = ("schedule=cosine",)
SHARE = ("background_share=0", "background_step=3e-2")


def linear_alone(assembly: Assembly) -> Assembly:
    """Let the networks that learn backgrounds know nothing, so that the linear classifier is believed."""

    def nothing(watch: Watch) -> Output:
        logits = torch.zeros(len(assembly.data.train), 2)
        return Output(logits, logits)

    return replace(assembly, backgrounds=nothing)


ROWS = {
    "ERM": Row("erm"),
    "1: groups drawn evenly": Row("group-sample"),
    "2: background start, linear": Row("background-adjust", changed=linear_alone),
    "2: background start": Row("background-adjust"),
    "3: CLP from zero": Row("clp", explained=True),
    "3: CLP from zero, a tenth of Omega's step": Row("clp", (SMALL,), explained=True),
    "3: CLP, background": Row("clp", (START,), explained=True),
    "3: CLP, background, running statistics": Row("clp", (START, "meta_batch_norm=running"), explained=True),
    "3: CLP, background, a tenth of Omega's step": Row("clp", (START, SMALL), explained=True),
    "3: CLP, background, its share learnt, a tenth of Omega's step": Row("clp", (START, *SHARE, SMALL), explained=True),
    "3: Meta-LP, background, a tenth of Omega's step": Row("meta-lp", (START, SMALL), explained=True),
    "4: background start, step 0.1 falling": Row("background-adjust", FALLING),
    "4: background start, step 0.3 falling": Row("background-adjust", (*FALLING, "lr=0.3")),
    "4: background start, 0.8 of it, step 0.3 falling": Row("background-adjust", (*FALLING, "lr=0.3", "tau=0.8")),
    "4: CLP, background, step 0.3 falling": Row("clp", (START, SMALL, *FALLING, "lr=0.3")),
    "4: CLP, 0.8 of it, step 0.3 falling": Row("clp", (START, SMALL, *FALLING, "lr=0.3", "background_share=0.8")),
    "4: CLP, background, step 0.3 falling, no saliency, half the meta steps": Row(
        "clp", (START, SMALL, *FALLING, "lr=0.3", "saliency_lambda=0", "meta_interval=2")
    ),
}


def main() -> None:
    """Make a shard a seed, train every row that is not done."""
    arguments = arguments_of(__doc__, RESULTS / "demo_backgrounds.json", data=False)
    search(ROWS, arguments, None, SETTINGS, lambda seed: shard_of(arguments.work, seed))


def shard_of(work: Path, seed: int) -> Path:
    """Return the shard of a seed, made now unless it is there."""
    path = work / f"demo-seed{seed}.h5"
    if not path.exists():
        runner.command("clp-augment", [
            "--dataset", "demo", "--cf", "tile,random", "--f", "random,mix-rand", "--size", "32", "--seed", str(seed),
            "--out", str(path), "--quiet",
        ])  # fmt: skip
    return path


if __name__ == "__main__":
    main()
