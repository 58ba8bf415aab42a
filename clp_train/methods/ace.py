"""ACE-lite: a classifier is fine-tuned on its own predictions and on counterfactuals graded from one class to none.

Augmentation by Counterfactual Explanation (Singla et al. 2023) makes them with a generator that is trained on the
classifier for days. Here they come from the counterfactuals of the shard, through `parts.graded.SOURCES`. This is ours,
with everything that follows from it, so results are not those of ACE.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from clp_aug.common.settings import Settings, setting
from clp_aug.contract.errors import SettingError
from clp_aug.contract.schema import COUNTERFACTUAL
from clp_train.algorithm.method import Context, Method, Scores
from clp_train.algorithm.stages import Stage
from clp_train.algorithm.table import TrainTable
from clp_train.methods.parts.graded import SOURCES, Pairs, pairs_of
from clp_train.methods.parts.present import require
from clp_train.models.parts import Classifier
from clp_train.pictures.batching import steps_per_epoch
from clp_train.pictures.moving import onto
from clp_train.pictures.samplers import repeat
from clp_train.pictures.types import Batch, BoxedPictures


@dataclass(frozen=True)
class Options(Settings):
    """The settings of ACE-lite. Source: ours, unless a setting says otherwise."""

    source: str = setting(
        "blend", "How graded pictures are made: blend both pictures, or reveal the original in part of the box.",
        choices=SOURCES,
    )  # fmt: skip
    copies: int = setting(4, "Graded pictures from each counterfactual, each with its own share.", low=1)
    made: float = setting(
        0.5, "Graded pictures per real picture in an epoch of tuning.", low=0.01, high=100,
        source="the authors' notebook",
    )  # fmt: skip
    certain: float = setting(
        0.5, "Share of the training pictures that tuning uses: those that the classifier is most certain of.",
        low=0.000001, high=1, source="ours; 2000 pictures in the authors' notebook",
    )  # fmt: skip
    tuning: float = setting(0.2, "Share of the run's epochs for tuning.", low=0.01, high=0.99)
    rate: float = setting(0.1, "Learning rate of tuning, as a multiple of the run's.", low=0.000001, high=1)


class AceLite(Method):
    """Stage 0 is ERM; stage 1 fine-tunes it.

    The target of a real picture is its prediction by stage 0. The target of a graded picture is its share for its
    label, and the rest in equal parts for the other classes, so a full counterfactual means "not y". soft: (N, C),
    predictions of stage 0 for the training pictures, zeros until then; shares: (P,), of the graded pictures.
    """

    def __init__(self, options: Options, table: TrainTable, generator: torch.Generator) -> None:
        self.options, self.table, self.stage = options, table, 0
        self.stages = (Stage(share=1 - options.tuning), Stage(share=options.tuning, rate=options.rate))
        self.seed = int(torch.randint(2**62, (), generator=generator))
        self.soft = torch.zeros(len(table.label), table.classes)

    def enter(self, stage: int, network: Classifier) -> None:
        self.stage = stage

    def begin_stage(self, stage: int, scores: Scores) -> None:
        if stage == 1:
            self.soft = scores("train").logits.softmax(1)

    def additions(self, meta: BoxedPictures) -> BoxedPictures | None:
        if not (meta.kind == COUNTERFACTUAL).any():
            raise SettingError(
                "method", "ace", "the shard has no counterfactuals; expected at least one; make the shard with"
                " clp-augment --cf, or take a method without them",
            )  # fmt: skip
        if self.stage == 0:
            return None
        generator = torch.Generator().manual_seed(self.seed)
        each = pairs_of(meta)
        rows = torch.arange(len(each.counterfactuals)).repeat(self.options.copies)
        pairs = Pairs(*(part.take(rows) for part in each))
        self.shares = torch.rand(len(rows), generator=generator)
        return replace(pairs.counterfactuals, images=SOURCES[self.options.source](pairs, self.shares, generator))

    def batches(self, epoch: int, batch_size: int, rng: np.random.Generator) -> list[np.ndarray] | None:
        if self.stage == 0:
            return None
        n, additions = len(self.table.label), len(self.shares)
        graded = round(n * self.options.made / (1 + self.options.made))
        real = repeat(self.certain(), n - graded, rng)
        rows = rng.permutation(np.concatenate([real, repeat(np.arange(n, n + additions), graded, rng)]))
        return np.array_split(rows, steps_per_epoch(n, batch_size))

    def certain(self) -> np.ndarray:
        """Return the rows of the training pictures with the highest top probabilities; of equal ones the first."""
        order = self.soft.amax(1).argsort(descending=True, stable=True)
        return order[: max(1, round(self.options.certain * len(order)))].numpy()

    def mixed(self, batch: Batch, rng: np.random.Generator) -> Batch:
        if self.stage == 0:
            return batch
        n, classes = len(self.table.label), self.table.classes
        row, device = require(batch.row, "rows of the batch"), batch.label.device
        share = torch.cat([self.shares.new_zeros(n), self.shares])[row][:, None]
        real, is_real = self.soft[row.clamp(max=n - 1)], (row < n)[:, None]
        share, real, is_real = (onto(part, device) for part in (share, real, is_real))
        one_hot = F.one_hot(batch.label, classes)
        graded = share * one_hot + (1 - share) * (1 - one_hot) / (classes - 1)
        return replace(batch, target=torch.where(is_real, real, graded).to(batch.images.dtype))

    def state_dict(self) -> dict[str, Tensor]:
        return {"soft": self.soft}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.soft = state["soft"]


def build(options: Options, context: Context) -> AceLite:
    """Return the method before its first step. Raises SettingError if there is only one class."""
    if context.table.classes < 2:
        reason = "the data set has one class; expected at least two"
        raise SettingError("method", context.method, reason)
    return AceLite(options, context.table, context.generator)
