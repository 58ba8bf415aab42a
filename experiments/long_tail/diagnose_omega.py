"""What does Omega learn, and does its gradient foretell what happens? CLP on CIFAR-10: a long tail, and flipped labels.

    python -m experiments.long_tail.diagnose_omega --data DIR --work DIR [--runs PART ...]

Of each run, over the steps of its last tenth at its first step size, every fifth of them:
- delta's push for the own class (that of the label less the log-mean-exp of the others) by class size, by margin of the
  unperturbed logits, and by whether the label is right; its rank correlation with each of the ten characteristics;
- how long v is beside the training gradient, and whether they agree (cosine);
- the change of the meta loss that the hypergradient foretells for the step that Omega then took, beside the change at
  the virtual weights, after the real step (momentum, weight decay), and on val pictures after the real step;
- whether the meta set is overfitted: error on the meta originals and on val at the end.
The first goes into a figure beside the results.

DIR of --data holds cifar10_jpeg.h5; the long tail is that of search_cifar_lt.py. Seed 0; no test picture is looked at.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from clp_aug.common import memory
from clp_aug.common.files import written_beside
from clp_aug.contract.schema import ORIGINAL
from clp_train.algorithm.characteristics import CHARACTERISTICS, View, characteristics
from clp_train.algorithm.hypergradient import Hypergradient
from clp_train.algorithm.meta_step import BilevelProblem, ExactMetaStep
from clp_train.algorithm.method import Method
from clp_train.algorithm.objective import logits_from, objective
from clp_train.algorithm.optimiser import learning_rates
from clp_train.algorithm.slopes import norm_of
from clp_train.algorithm.step import MetaObjective, StepLosses, StepRule, train_step
from clp_train.algorithm.virtual_step import Weights, sgd_moves
from clp_train.config import TrainConfig
from clp_train.evaluating.metrics import evaluate
from clp_train.loading.data import RunData
from clp_train.models.parts import Classifier
from clp_train.pictures.batching import steps_per_epoch
from clp_train.pictures.types import Batch, BoxedPictures, as_input, meta_of_kinds
from clp_train.running.assembly import assemble
from clp_train.running.loop import Hooks, train
from experiments.common import runner
from experiments.common.searching import config_of, data_of
from experiments.long_tail import search_cifar_lt as long_tail

RESULTS = long_tail.RESULTS
EVERY = 5
LAST = 0.1  # share of the steps that is looked at, before the first drop of the step size
NOISE = ["--noise", "flip:0.4", "--meta", "100/class", "--limit", "5000"]
RUNS = {
    "long tail, from zero": ("cifar-lt-cpu", long_tail.BEFORE),
    "long tail, from the log prior": ("cifar-lt-cpu", (*long_tail.BEFORE, long_tail.PRIOR, long_tail.SMALL)),
    "flip 40 %, from zero": ("table5-flip-cpu", ()),
}


class Watch:
    """Takes the steps of a run, and looks at some of them; rows: of pictures, steps: of steps."""

    def __init__(self, config: TrainConfig, data: RunData) -> None:
        self.data = data
        steps = config.run.epochs * steps_per_epoch(len(data.train), config.batches.batch_size)
        end = int(config.sgd.first_drop * steps)
        self.due = range(end - int(LAST * steps), end, EVERY)
        self.rows: list[dict[str, Tensor]] = []
        self.steps: list[dict[str, float]] = []

    def __call__(
        self, network: Classifier, method: Method, optimiser: torch.optim.SGD, batch: Batch, meta: Batch | None,
        rule: StepRule, number: int, progress: float,
    ) -> StepLosses:  # fmt: skip
        if number not in self.due:
            return train_step(network, method, optimiser, batch, meta, rule, number, progress)
        weights = {name: w.detach().clone() for name, w in network.named_parameters()}
        omega = [values.detach().clone() for values in method.learned]
        taken: list[ExactMetaStep] = []

        def kept(problem: BilevelProblem) -> ExactMetaStep:
            taken.append(ExactMetaStep(problem))
            return taken[0]

        keeping = replace(rule, meta_steps={"exact": kept})
        losses = train_step(network, method, optimiser, batch, meta, keeping, number, progress)
        found = taken[0].result
        moved = [after.detach() - before for after, before in zip(method.learned, omega, strict=True)]
        view, delta, now = taken_anew(network, method, batch, weights, progress)
        rates = learning_rates(dict(network.named_parameters()), optimiser)
        real = {name: w.detach() for name, w in network.named_parameters()}
        shifts = [rate * (n - b) for rate, n, b in zip(rates, now, found.training, strict=True)]
        without = {name: w + shift for (name, w), shift in zip(real.items(), shifts, strict=True)}

        def meta_at(where: Weights) -> float:
            return float(MetaObjective(network, method, meta, rule, number)(where).detach())

        val, virtual = self.val_batch(number), dict(zip(weights, sgd_moves(rates)(weights, now).weights, strict=True))
        self.steps.append({
            "foretold": sum(float((g * m).sum()) for g, m in zip(found.gradients, moved, strict=True)),
            "at virtual weights": meta_at(virtual) - float(found.meta_loss),
            "after the real step": meta_at(real) - meta_at(without),
            "on val": cross_entropy_at(network, real, val) - cross_entropy_at(network, without, val),
            **beside_training(found),
        })  # fmt: skip
        self.look_at(view, delta, method)
        return losses

    def val_batch(self, number: int) -> tuple[Tensor, Tensor]:
        """Return 500 val pictures, others at each step: float32 (n, 3, H, W) and int64 (n,)."""
        val = self.data.evaluation["val"]
        rows = torch.from_numpy(np.random.default_rng(number).permutation(len(val))[:500])
        return as_input(val.images[rows]), val.label[rows]

    def look_at(self, view: View, delta: Tensor, method: Method) -> None:
        """Keep of each picture the push of delta, the characteristics, and whether the label is right."""
        right = torch.ones(len(view.label)) if self.data.wrong is None else (~self.data.wrong[view.row]).float()
        self.rows.append(
            {"push": push_of(delta, view.label), "right": right, "g": characteristics(view, method.classes)}
        )


def taken_anew(
    network: Classifier, method: Method, batch: Batch, weights: Weights, progress: float
) -> tuple[View, Tensor, tuple[Tensor, ...]]:
    """Return what a batch shows at other weights, its delta by Omega as it is now, and the training gradient there."""
    leaves = {name: w.requires_grad_() for name, w in weights.items()}
    out = functional_call(network, leaves | buffers_of(network), (batch.images,))
    head = weights["head.weight"].detach()
    view = View(out.logits.detach(), out.features.detach(), head, batch.label, batch.group, batch.row, progress)
    terms = method.terms(view)
    loss = objective(logits_from(out.logits, network.head, terms), batch.label, terms)
    return view, terms.delta.detach(), torch.autograd.grad(loss, tuple(leaves.values()))


def beside_training(found: Hypergradient) -> dict[str, float]:
    """Return how long v and the training gradient are, and the cosine between them."""
    v, training = found.direction, found.training
    return {
        "norm of v": float(norm_of(v)),
        "norm of the training gradient": float(norm_of(training)),
        "cosine": float(sum((a * b).sum() for a, b in zip(v, training, strict=True)))
        / float(norm_of(v) * norm_of(training)),
    }


def buffers_of(network: Classifier) -> dict[str, Tensor]:
    """Return copies, so that a pass leaves batch norm's statistics as they are."""
    return {name: value.clone() for name, value in network.named_buffers()}


def cross_entropy_at(network: Classifier, weights: dict[str, Tensor], pictures: tuple[Tensor, Tensor]) -> float:
    """Return the mean cross entropy of pictures at other weights; batch norm as in training."""
    images, label = pictures
    with torch.no_grad():
        out = functional_call(network, weights | buffers_of(network), (images,))
    return float(torch.nn.functional.cross_entropy(out.logits, label))


def push_of(delta: Tensor, label: Tensor) -> Tensor:
    """Return delta of the label less the log-mean-exp of the others, (n,)."""
    own = label[:, None]
    others = delta.scatter(1, own, -torch.inf).logsumexp(1) - np.log(delta.shape[1] - 1)
    return delta.gather(1, own).squeeze(1) - others


def ranks(values: Tensor) -> Tensor:
    """Return the mean-free ranks of (n,), equal values in any order."""
    order = values.argsort(stable=True).argsort().double()
    return order - order.mean()


def summary(watch: Watch, network: Classifier) -> dict[str, Any]:
    """Return all figures of a run, rounded."""
    push, right, g = (torch.cat([row[name] for row in watch.rows]) for name in ("push", "right", "g"))
    columns = {name: np.array([one[name] for one in watch.steps]) for name in watch.steps[0]}
    foretold = columns["foretold"]
    share, margin = g[:, 5], g[:, 1]
    r = ranks(push)
    counts, judged = torch.bincount(watch.data.train.label), {}
    for name, pictures in (("val", watch.data.evaluation["val"]), ("meta originals", originals(watch.data))):
        metrics = evaluate(network, pictures, len(counts), counts.tolist())
        judged[name] = round(100 * (1 - metrics.average), 2)
    return {
        "push by share of the class": binned(push, share, share.unique()),
        "push by margin": binned(push, margin, torch.tensor([-1, -0.6, -0.2, 0.2, 0.6, 1.0])),
        "push of right and wrong labels": [
            round(float(push[right == kind].mean()), 3) if (right == kind).any() else None for kind in (1, 0)
        ],
        "spread of the push": round(float(push.std()), 3),
        "rank correlation of the push": {
            of.__name__: round(float((r * ranks(g[:, k])).sum() / (r.norm() * ranks(g[:, k]).norm())), 2)
            for k, of in enumerate(CHARACTERISTICS)
        },
        "changes of the loss, means x 1e6": {
            name: round(float(1e6 * columns[name].mean()), 2)
            for name in ("foretold", "at virtual weights", "after the real step", "on val")
        },
        "correlation with what is foretold": {
            name: round(float(np.corrcoef(foretold, columns[name])[0, 1]), 3)
            for name in ("at virtual weights", "after the real step", "on val")
        },
        "share of steps that lower it": {
            name: round(float((columns[name] < 0).mean()), 3)
            for name in ("at virtual weights", "after the real step", "on val")
        },
        "medians": {
            name: round(float(np.median(columns[name])), 4)
            for name in ("norm of v", "norm of the training gradient", "cosine")
        },
        "error at the end": judged,
        "steps looked at": len(watch.steps),
    }  # fmt: skip


def draw(whole: dict, out: Path) -> None:
    """Draw the push against class size, margin and cleanliness, a line a run, as SVG."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"svg.hashsalt": "clp", "font.size": 8}):
        figure = Figure((9, 3.1), layout="constrained")
        sizes, margins, labels = figure.subplots(1, 3)
        for name, found in whole.items():
            style = {"marker": "o", "markersize": 3, "linewidth": 1, "label": name}
            for axes, key in ((sizes, "push by share of the class"), (margins, "push by margin")):
                axes.plot([float(x) for x in found[key]], list(found[key].values()), **style)
            push = found["push of right and wrong labels"]
            if push[1] is not None:
                labels.bar(["right label", "wrong label"], push, color=sizes.lines[-1].get_color(), width=0.5)
        shares = sorted({float(x) for found in whole.values() for x in found["push by share of the class"]})
        odds = [np.log(9 * p / (1 - p)) for p in shares]  # of ten classes, the nine others taken as alike
        sizes.plot(shares, odds, color="grey", linewidth=1, linestyle="dashed", label="log prior, about")
        sizes.set(xscale="log", xlabel="share of the class", ylabel="push of delta for the own class")
        margins.set(xlabel="margin of the unperturbed logits, g2")
        figure.legend(*sizes.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
        for axes in (sizes, margins, labels):
            axes.axhline(0, color="black", linewidth=0.4)
            axes.spines[["top", "right"]].set_visible(False)
        with written_beside(out) as temporary:
            figure.savefig(temporary, format="svg", metadata={"Date": None})


def originals(data: RunData) -> BoxedPictures:
    """Return the meta originals."""
    return meta_of_kinds(data.meta, (ORIGINAL,))


def binned(values: Tensor, by: Tensor, edges: Tensor) -> dict[str, float]:
    """Return the mean of values where `by` lies nearest to each of the edges, those with any."""
    nearest = (by[:, None] - edges[None]).abs().argmin(1)
    return {
        f"{float(edge):.3f}": round(float(values[nearest == i].mean()), 3)
        for i, edge in enumerate(edges)
        if (nearest == i).any()
    }


def main() -> None:
    """Train every run that is not done and write what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--runs", nargs="+", default=[""], help="Runs whose names start so.")
    parser.add_argument("--out", type=Path, default=RESULTS / "diagnose_omega.json")
    arguments = parser.parse_args()
    memory.keep_freed_memory()
    pictures = long_tail.pictures_of(arguments.data, arguments.work)
    whole = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    for name, (preset, texts) in RUNS.items():
        if name in whole or not name.startswith(tuple(arguments.runs)):
            continue
        shard = shard_of(name, arguments.work, pictures)
        config = config_of("clp", texts, preset, long_tail.settings_of(str(pictures)), shard)
        whole[name] = {"settings": [preset, *texts]} | looked_at(config)
        with written_beside(arguments.out) as temporary:
            temporary.write_text(json.dumps(whole, indent=1) + "\n")
        print(name, json.dumps(whole[name]), flush=True)
    draw(whole, arguments.out.with_suffix(".svg"))


def looked_at(config: TrainConfig) -> dict[str, Any]:
    """Train, and return all figures of the run."""
    data = data_of(config)
    watch = Watch(config, data)
    trained = train(assemble(config, data), Hooks(train_step=watch))
    trained.network.load_state_dict(trained.last.state)
    return summary(watch, trained.network)


def shard_of(name: str, work: Path, pictures: Path) -> Path:
    """Return the shard of a run, made now unless it is there."""
    if name.startswith("long tail"):
        return long_tail.shard_of(work, pictures, 0)
    path = work / "cifar10-search-flip40.h5"
    if not path.exists():
        runner.command("clp-augment", [
            "--dataset", "folder", "--root", str(pictures), *NOISE, "--cf", "tile", "--f", "random",
            "--matte", "centre", "--out", str(path), "--quiet",
        ])  # fmt: skip
    return path


if __name__ == "__main__":
    main()
