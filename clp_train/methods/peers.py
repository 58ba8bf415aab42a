"""Two classifiers that select pictures for each other: co-teaching (Han et al. 2018), JoCoR (Wei et al. 2020).

Both learn from the pictures with the smallest losses of each batch. Co-teaching: each learns from those that its peer
finds easy. JoCoR: both learn from those with a small joint loss, which includes their disagreement. The first
classifier's part of the objective goes through `terms`, the rest is the penalty. SGD moves each classifier separately,
so one optimiser over both equals two with the same settings.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from clp_aug.common.settings import Settings, setting
from clp_train.algorithm.characteristics import View
from clp_train.algorithm.losses import cross_entropy
from clp_train.algorithm.method import Context, Method
from clp_train.algorithm.objective import Terms
from clp_train.methods.parts.checks import require_learning_body
from clp_train.methods.parts.noisy_losses import mean_of_smallest, symmetric_divergence
from clp_train.methods.parts.present import require
from clp_train.models.parts import Classifier, Output
from clp_train.pictures.types import Batch


@dataclass(frozen=True)
class Options(Settings):
    """The settings of co-teaching. Source: Han et al. 2018."""

    noise_rate: float | None = setting(
        None, "tau, the true share of wrong labels.", low=0, below=1, shown="from the shard's label noise"
    )
    ramp: int = setting(10, "T_k, epochs until the full share tau of a batch is left out.", low=1)
    exponent: float = setting(1.0, "c, exponent of the epoch in the share that is left out.", low=0)


@dataclass(frozen=True)
class JointOptions(Options):
    """The settings of JoCoR. Source: Wei et al. 2020."""

    agreement: float = setting(
        0.9, "lambda, share of the disagreement in the loss.", low=0, high=1, source="theirs for CIFAR-10"
    )


OPTIONS = {"co-teaching": Options, "jocor": JointOptions}


def kept_share(epoch: int, noise_rate: float, ramp: int, exponent: float) -> float:
    """Return R = 1 - tau min(t^c / T_k, 1), the share of a batch that is kept in epoch t (from 0)."""
    return 1 - noise_rate * min(epoch**exponent / ramp, 1) if epoch else 1.0


def kept_count(share: float, pictures: int) -> int:
    """Return how many of `pictures` pictures are kept: rounded down, at least 1."""
    return max(math.floor(share * pictures + 1e-9), 1)  # 0.7 * 10 is 7, not 6.999


class CoTeaching(Method):
    """Each classifier's mean loss over the pictures for which the other one has a small loss."""

    networks = 2

    def __init__(self, options: Options, epochs: int, wrong: float) -> None:
        self.options, self.epochs = options, epochs
        self.rate = wrong if options.noise_rate is None else options.noise_rate
        self.share = 1.0
        self.weight = torch.ones(0)  # of the pictures of this step, for the first classifier

    def observe(self, view: View) -> None:
        epoch = round(view.progress * self.epochs)
        self.share = kept_share(epoch, self.rate, self.options.ramp, self.options.exponent)

    def penalty(self, out: Output, batch: Batch, network: Classifier) -> Tensor:
        other = require(out.other, "output of the peer")
        first, second = (cross_entropy(part.logits, batch.label) for part in (out, other))
        count = kept_count(self.share, len(batch))
        self.weight = mean_of_smallest(second, count) * len(batch)
        return mean_of_smallest(first, count) @ second

    def terms(self, view: View) -> Terms:
        return Terms(weight=self.weight)


class JoCoR(CoTeaching):
    """(1 - lambda) (CE_1 + CE_2) + lambda (KL(p_1 || p_2) + KL(p_2 || p_1)), the mean of its smallest values."""

    options: JointOptions

    def penalty(self, out: Output, batch: Batch, network: Classifier) -> Tensor:
        share, other = self.options.agreement, require(out.other, "output of the peer")
        first, second = (cross_entropy(part.logits, batch.label) for part in (out, other))
        divergence = symmetric_divergence(out.logits, other.logits)
        joint = (1 - share) * (first + second) + share * divergence
        weights = mean_of_smallest(joint, kept_count(self.share, len(batch)))
        self.weight = (1 - share) * weights * len(batch)
        return weights @ ((1 - share) * second + share * divergence)


def build(options: Options, context: Context) -> CoTeaching:
    """Return the method. Raises SettingError for trainable "head": two heads on the same features are not peers."""
    require_learning_body(context, "needs two whole networks")
    kinds: dict[str, Callable[[Any, int, float], CoTeaching]] = {"co-teaching": CoTeaching, "jocor": JoCoR}
    return kinds[context.method](options, context.epochs, context.table.wrong)
