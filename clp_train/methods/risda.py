"""RISDA (Chen et al. 2022): ISDA late in the run; rare classes borrow statistics from classes they are confused with.

Plain cross entropy first. At its end, the classifier is evaluated on the training pictures once: K_ck is the share of
class c that is predicted as class k. It gives a shift D_c = sum_k K_ck mu_k - mu_c of the class means mu. From then on

    delta_j = beta_t / 2 (w_j - w_y)^T Sigma'_y (w_j - w_y) + alpha_t (w_j - w_y)^T D_y,

with Sigma'_c = sum_k K_ck Sigma_k for tail classes and Sigma_c for head classes, alpha_t and beta_t their values times
the finished share of epochs, and classes weighted by their effective numbers. Differences from the authors' code: it
also shifts the features and so shifts twice, and it replaces Sigma by Sigma' in each step; K here is computed without
augmentation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from clp_aug.common.settings import setting
from clp_train.algorithm.characteristics import View
from clp_train.algorithm.method import Context, Scores
from clp_train.algorithm.objective import Terms
from clp_train.methods import isda
from clp_train.methods.parts.class_weights import effective_weights
from clp_train.methods.parts.moments import class_means, isda_delta
from clp_train.methods.parts.present import require
from clp_train.models.parts import Classifier, device_of


@dataclass(frozen=True)
class Options(isda.Options):
    """The settings of RISDA. Source: the authors' settings for CIFAR-100-LT of ratio 100; for ImageNet-LT they have
    strength 7.5, shift 0 and covariance diag.
    """

    strength: float = setting(0.75, "beta, weight of the covariances at the end of the run; it grows from 0.", low=0)
    shift: float = setting(
        0.5, "alpha, weight of the shift of the class means at the end of the run; it grows from 0.", low=0
    )
    start: float = setting(0.8, "Share of the run's epochs with plain cross entropy.", low=0, high=1)
    head: float = setting(
        0.2, "Share of the largest classes that borrow no covariance: at least one class, and all that are as large"
        " as the smallest of them.", low=0, high=1,
    )  # fmt: skip
    beta: float = setting(
        0.9999, "beta of the effective number of pictures; 0 gives all classes the same weight.", low=0, below=1
    )


class Risda(isda.Isda):
    """label: int64 (N,), of the training pictures; tail: bool (C,); confusion: K, (C, C), displacement: D, (C, A); both
    None until the classifier was evaluated.
    """

    def __init__(self, options: Options, label: Tensor, counts: Tensor) -> None:
        super().__init__(options.strength, options.covariance)
        self.start, self.shift, self.label = options.start, options.shift, label
        self.weights = effective_weights(counts, options.beta)
        self.tail = ~is_largest(counts, options.head)
        self.confusion: Tensor | None = None
        self.displacement: Tensor | None = None

    def enter(self, stage: int, network: Classifier) -> None:
        super().enter(stage, network)
        self.weights, self.tail = self.weights.to(device_of(network)), self.tail.to(device_of(network))
        self.place_looks()

    def place_looks(self) -> None:
        """Move K and D, if they are known, to the device of the last layer."""
        if self.confusion is not None and self.displacement is not None:
            device = self.last.weight.device
            self.confusion, self.displacement = self.confusion.to(device), self.displacement.to(device)

    def begin_epoch(self, epoch: int, epochs: int, scores: Scores) -> None:
        if self.confusion is not None or epoch / epochs < self.start:
            return
        out, label = scores("train"), self.label
        self.confusion = confusion(out.logits, label)
        means = class_means(out.features, label, len(self.tail))
        self.displacement = self.confusion @ means - means
        self.place_looks()

    def terms(self, view: View) -> Terms:
        if not self.has_started:
            return Terms()
        return Terms(self.delta(view), self.weights.to(view.logits)[view.label], normaliser="sum_w")

    def delta(self, view: View) -> Tensor:
        weight, spread = self.weight(view), self.require_moments().covariance
        rates, displacement = require(self.confusion, "confusion"), require(self.displacement, "displacement")
        own = torch.eye(len(self.tail), dtype=rates.dtype, device=rates.device)
        mixing = torch.where(self.tail[:, None], rates, own)
        delta = isda_delta(weight, spread, view.label, self.strength * self.progress, mixing)
        shifts = displacement.to(weight)[view.label] @ weight.T  # (n, C), of w_j
        return delta + self.shift * self.progress * (shifts - shifts.gather(1, view.label[:, None]))

    def state_dict(self) -> dict[str, Tensor]:
        state = super().state_dict()
        if self.confusion is not None and self.displacement is not None:
            state |= {"confusion": self.confusion, "displacement": self.displacement}
        return state

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        super().load_state_dict(state)
        if "confusion" in state:
            self.confusion, self.displacement = state["confusion"], state["displacement"]


def is_largest(counts: Tensor, share: float) -> Tensor:
    """Return whether each class is among the largest `share` of the classes, at least 1: bool (C,).

    Classes as large as the smallest of these are included, so that names of classes do not matter.
    """
    return counts >= counts.sort(descending=True).values[max(1, round(share * len(counts))) - 1]


def confusion(logits: Tensor, label: Tensor) -> Tensor:
    """Return the share of class c's pictures that are predicted as class k, (C, C), rows of sum 1.

    logits: (N, C); label: int64 (N,), no class without pictures.
    """
    return class_means(F.one_hot(logits.argmax(1), logits.shape[1]).to(logits), label, logits.shape[1])


def build(options: Options, context: Context) -> Risda:
    """Return the method before its first step. Raises SettingError for a class without pictures."""
    context.table.require_all_classes(context.method)
    return Risda(options, context.table.label, context.table.class_counts())
