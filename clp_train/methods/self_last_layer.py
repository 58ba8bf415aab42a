"""SELF (LaBonte et al. 2023): fine-tune the last layer on pictures whose predictions have changed during training.

Training uses no group labels. Some training pictures are held out. Those on which an early and the final network
disagree most are mostly of rare groups. The last layer learns from them, with classes equally often.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from clp_aug.common.settings import Settings, setting
from clp_aug.contract.errors import SettingError
from clp_train.algorithm.method import Context, Method, Scores
from clp_train.algorithm.stages import Stage
from clp_train.algorithm.table import TrainTable
from clp_train.methods.parts.present import require
from clp_train.pictures.batching import steps_per_epoch


@dataclass(frozen=True)
class Options(Settings):
    """The settings of SELF with early stopping. Source: the authors' code, unless a setting says otherwise."""

    held_out: float = setting(
        0.1, "Share of the training pictures that the network does not learn from.", low=0.01, high=0.9,
        source="ours; theirs are half of the val split, 599 beside 4,795 pictures of Waterbirds",
    )  # fmt: skip
    early: float = setting(
        0.2, "Share of the whole network's epochs after which its early logits are recorded.", low=0, high=0.99,
        source="theirs: 0.1, 0.2 or 0.5, chosen on val",
    )  # fmt: skip
    chosen: int = setting(
        100, "Held-out pictures that the last layer learns from.", low=2, source="theirs: 20, 100 or 500, chosen on val"
    )
    share: float = setting(
        0.25, "Share of the run's epochs for the last layer.", low=0.01, high=0.99, source="ours; theirs has 250 steps"
    )
    rate: float = setting(
        1.0, "Learning rate of the last layer then, as a multiple of the run's.", above=0,
        source="theirs: 0.03, 0.3 or 3, chosen on val",
    )  # fmt: skip


def disagreement(early: Tensor, late: Tensor) -> Tensor:
    """Return KL(p_early || p_late) / C of each picture, (n,). early, late: logits (n, C). Source: the authors' code."""
    log_p, log_q = early.log_softmax(1), late.log_softmax(1)
    return (log_p.exp() * (log_p - log_q)).mean(1)


def most_disputed(disagreements: Tensor, label: Tensor, count: int) -> Tensor:
    """Return the `count` rows, int64, with the largest disagreements, (n,), at least one of each class.

    label: int64 (n,). All rows if there are fewer than `count`; of equal ones the first. At least one of each class is
    ours.
    """
    order = disagreements.argsort(descending=True, stable=True)
    own = label[order]
    places = torch.stack([(own == c).nonzero()[0, 0] for c in own.unique()])
    is_first = torch.zeros(len(order), dtype=torch.bool).index_fill_(0, places, True)
    return torch.cat([order[is_first], order[~is_first]])[:count]


def drawn_by_class(rows: np.ndarray, label: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return `count` of the rows, int64 (count,), drawn with replacement; all classes among them are equally likely.

    rows: int64 (n,); label: int64 (N,), of all pictures.
    """
    _, place, counts = np.unique(label[rows], return_inverse=True, return_counts=True)
    drawn: np.ndarray = rows[rng.choice(len(rows), count, p=1 / (len(counts) * counts[place]))]
    return drawn


def whole_epochs(options: Options, epochs: int) -> int:
    """Return how many of `epochs` epochs the whole network learns, rounded as in `stages.plan`."""
    return round((1 - options.share) * epochs)


class Self(Method):
    """Stage 0: the network learns from the pictures that are not held out; stage 1: its last layer from `chosen` ones.

    kept, held: int64, the rows of the two parts; whole: epochs of stage 0; early: float32 (H, C), logits of the
    held-out pictures after `look_at` epochs, None before; chosen: int64, rows, None until stage 1. Both stages draw
    classes equally often; an epoch of stage 1 has as many steps as one of ERM.
    """

    def __init__(self, options: Options, table: TrainTable, epochs: int, generator: torch.Generator) -> None:
        self.options, self.label = options, table.label
        self.stages = (
            Stage(share=1 - options.share),
            Stage(share=options.share, trainable="head", rate=options.rate),
        )
        self.whole = whole_epochs(options, epochs)
        self.look_at = min(max(1, round(options.early * self.whole)), self.whole - 1)
        order = torch.randperm(len(table.label), generator=generator)
        held = max(1, round(options.held_out * len(order)))
        self.held, self.kept = order[:held], order[held:]
        self.early: Tensor | None = None
        self.chosen: Tensor | None = None

    def begin_epoch(self, epoch: int, epochs: int, scores: Scores) -> None:
        if epoch == self.look_at:
            self.early = scores("train").logits[self.held]

    def begin_stage(self, stage: int, scores: Scores) -> None:
        if stage == 1:
            early, late = require(self.early, "logits of the early network"), scores("train").logits[self.held]
            disagreements = disagreement(early.double(), late.double())
            self.chosen = self.held[most_disputed(disagreements, self.label[self.held], self.options.chosen)]

    def pictures(self, epoch: int) -> int | None:
        return len(self.kept) if epoch < self.whole else None

    def batches(self, epoch: int, batch_size: int, rng: np.random.Generator) -> list[np.ndarray]:
        rows = self.kept if epoch < self.whole else require(self.chosen, "chosen pictures")
        count = self.pictures(epoch) or len(self.label)
        drawn = drawn_by_class(rows.numpy(), self.label.numpy(), count, rng)
        return np.array_split(drawn, steps_per_epoch(count, batch_size))

    def state_dict(self) -> dict[str, Tensor]:
        return {name: value for name, value in (("early", self.early), ("chosen", self.chosen)) if value is not None}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.early, self.chosen = state.get("early"), state.get("chosen")


def build(options: Options, context: Context) -> Self:
    """Return the method before its first step. Raises SettingError for too few epochs or too few chosen pictures."""
    whole, classes = whole_epochs(options, context.epochs), context.table.classes
    if whole < 2:
        reason = f"they leave {whole} for the whole network; expected at least 2; raise epochs"
        raise SettingError("epochs", context.epochs, reason)
    if options.chosen < classes:
        raise SettingError(
            "chosen", options.chosen, f"there are {classes} classes; expected at least one picture of each"
        )
    return Self(options, context.table, context.epochs, context.generator)
