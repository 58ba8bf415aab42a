"""IFL, invariant feature learning (Tang et al. 2022): learn features that a class shares between two environments.

The first environment is the training set itself; the second one prefers, within each class, pictures that the
classifier finds hard. Pictures are drawn alternately from both, with replacement, and the features of both are pulled
to one centre per class. Differences from the authors' code: an epoch draws as many pictures as there are, not twice as
many; hardness is measured without augmentation, in evaluation mode; centres start at the class means, not at random.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from clp_aug.common.settings import Settings, setting
from clp_aug.contract.errors import SettingError
from clp_train.algorithm.characteristics import View
from clp_train.algorithm.method import Context, Method, Scores
from clp_train.algorithm.objective import Terms
from clp_train.algorithm.table import TrainTable
from clp_train.methods.logit_adjust import adjustment
from clp_train.methods.parts.moments import class_means
from clp_train.methods.parts.present import require
from clp_train.models.parts import Classifier, Output, device_of
from clp_train.pictures.batching import steps_per_epoch
from clp_train.pictures.types import Batch

LOSSES = ("cross-entropy", "balanced-softmax")
FEW = 5  # a class with fewer pictures has equal weights
TARGET = 4.0  # about the ratio of the mean weight of the hardest fifth to that of the others


@dataclass(frozen=True)
class Options(Settings):
    """The settings of IFL. Source: the authors' settings, epochs 60 and 80 of 100."""

    first: float = setting(0.6, "Share of the run's epochs before the second environment is made.", low=0, high=1)
    second: float = setting(
        0.8, "Share of the run's epochs before the second environment is made again; at least first.", low=0, high=1
    )
    first_pull: float = setting(
        0.001, "Weight of the centre loss once the second environment is made; before that it is 0.", low=0
    )
    second_pull: float = setting(0.005, "Weight of the centre loss once the second environment is made again.", low=0)
    centre_rate: float = setting(0.5, "Learning rate of the centres.", low=0, high=1)
    loss: str = setting("cross-entropy", "Loss of the classifier: plain, or with the log class priors.", choices=LOSSES)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.second < self.first:
            raise SettingError("second", self.second, f"expected a share of the epochs >= first, {self.first}")


class Ifl(Method):
    """weights: float64 (N,), of the second environment; centres: (C, A); both None until it is made."""

    paced = True

    def __init__(self, options: Options, table: TrainTable) -> None:
        self.options, self.label, self.classes = options, table.label, table.classes
        self.delta = adjustment(table.class_counts(), 1.0) if options.loss == "balanced-softmax" else None
        self.weights: Tensor | None = None
        self.centres: Tensor | None = None
        self.pull = 0.0
        self.centres_before: Tensor | None = None  # this step's batch

    def enter(self, stage: int, network: Classifier) -> None:
        self.delta = None if self.delta is None else self.delta.to(network.head.weight)
        self.centres = None if self.centres is None else self.centres.to(device_of(network))

    def count_environments(self, progress: float) -> int:
        """Return how often the second environment is made up to this share of the epochs: 0, 1 or 2."""
        return (progress >= self.options.first) + (progress >= self.options.second)

    def begin_epoch(self, epoch: int, epochs: int, scores: Scores) -> None:
        if self.count_environments(epoch / epochs) == self.count_environments((epoch - 1) / epochs):
            return
        out, label = scores("train"), self.label
        probability = out.logits.double().softmax(1).gather(1, label[:, None]).squeeze(1)
        self.weights = environment_weights(probability, label, self.classes)
        if self.centres is None:
            self.centres = class_means(out.features, label, self.classes)

    def batches(self, epoch: int, batch_size: int, rng: np.random.Generator) -> list[np.ndarray]:
        n = len(self.label)
        second = None if self.weights is None else (self.weights / self.weights.sum()).numpy()
        rows = np.empty(n, np.int64)
        rows[::2] = rng.choice(n, len(rows[::2]))
        rows[1::2] = rng.choice(n, len(rows[1::2]), p=second)
        return np.array_split(rows, steps_per_epoch(n, batch_size))

    def observe(self, view: View) -> None:
        self.pull = (0.0, self.options.first_pull, self.options.second_pull)[self.count_environments(view.progress)]
        self.centres_before = self.centres
        if self.pull > 0:
            centres = require(self.centres, "centres").to(view.features.device)
            self.centres = move_centres(centres, view.features, view.label, self.options.centre_rate)

    def terms(self, view: View) -> Terms:
        return Terms() if self.delta is None else Terms(delta=self.delta.to(view.logits).expand_as(view.logits))

    def penalty(self, out: Output, batch: Batch, network: Classifier) -> Tensor | None:
        if self.pull == 0:
            return None
        centres = require(self.centres_before, "centres").to(out.features)[batch.label]  # in the features' type
        return self.pull * (out.features - centres).square().sum(1).mean()

    def state_dict(self) -> dict[str, Tensor]:
        if self.weights is None or self.centres is None:
            return {}
        return {"weights": self.weights, "centres": self.centres}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        if state:
            self.weights, self.centres = state["weights"], state["centres"]


def environment_weights(probability: Tensor, label: Tensor, classes: int) -> Tensor:
    """Return each picture's weight in the second environment, float64 (N,), with sum 1 in each class.

    probability: float64 (N,), of the own class; label: int64 (N,). Within a class hardness is d = 1 - p, p scaled to
    [0, 1]; weights are proportional to d^e, e in [1, 10] with r^e = 4, r being the mean hardness of the hardest fifth
    over that of the other four. Source: the authors' code; so are the offsets, which keep all weights above 0.
    """
    weights = torch.zeros_like(probability)
    for c in range(classes):
        rows = (label == c).nonzero().squeeze(1)
        n, p = len(rows), probability[rows]
        if n < FEW or p.max() == p.min():
            weights[rows] = 1 / max(n, 1)
            continue
        hardness = 1 - (p - p.min()) / (p.max() - p.min()) + 1e-5
        sorted_hardness = hardness.sort().values
        ratio = sorted_hardness[-int(0.2 * n) :].mean() / sorted_hardness[: int(0.8 * n)].mean() + 1e-5
        exponent = (torch.tensor(TARGET).log() / ratio.log()).clamp(1, 10)
        raw = hardness**exponent + 1e-12
        weights[rows] = raw / raw.sum()
    return weights


def move_centres(centres: Tensor, features: Tensor, label: Tensor, rate: float) -> Tensor:
    """Return the centres, (C, A), after a step down the mean squared distance of features, (n, A), to them."""
    gaps = (features.to(centres) - centres[label]) / len(label)
    return centres + 2 * rate * torch.zeros_like(centres).index_add_(0, label, gaps)


def build(options: Options, context: Context) -> Ifl:
    """Return the method before its first step."""
    return Ifl(options, context.table)
