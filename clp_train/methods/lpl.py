"""LPL (Li et al. 2022): in each batch, perturb the logits of each class by steps along its own loss.

Steps lower the loss of head classes and raise the loss of tail classes, which spreads tail classes like augmentation.
The number of steps depends on the class's number of pictures: the most frequent and the rarest class take most.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from clp_aug.common.settings import Settings, setting
from clp_train.algorithm.characteristics import View
from clp_train.algorithm.method import Context, Method
from clp_train.algorithm.objective import Terms
from clp_train.methods.logit_adjust import adjustment
from clp_train.models.parts import Classifier


@dataclass(frozen=True)
class Options(Settings):
    """The settings of LPL. Source: the authors' code for CIFAR-10-LT; for CIFAR-100-LT of ratio 100 it has head 0.27,
    steps 50, head_steps 0.2, rate 0.2 and the log priors first.
    """

    head: float = setting(0.4, "Share of the classes, the most frequent ones, whose loss is lowered.", low=0, high=1)
    steps: int = setting(10, "Steps of the rarest class.", low=0)
    head_steps: float = setting(0.6, "Steps of the most frequent class, as a multiple of those of the rarest.", low=0)
    rate: float = setting(0.15, "Length of a step.", low=0)
    prior: bool = setting(
        False, "Add the log class priors to the logits before the steps: LA + LPL.",
        source="the authors' code for CIFAR-100-LT of ratio 100",
    )  # fmt: skip


def signs_and_steps(counts: Tensor, options: Options) -> tuple[Tensor, Tensor]:
    """Return the sign of each class's steps, -1 for the head, and their number: float64 (C,), int64 (C,).

    A head class takes head_steps * steps * n_c / n_max, a tail class steps * n_min / n_c, rounded, none at 0. Classes
    with as many pictures as the last head class are head classes too, so their names do not matter.
    """
    n = counts.double()
    size = round(options.head * len(n))
    threshold = n.sort(descending=True).values[size - 1] if size else n.max() + 1
    head = n >= threshold
    steps = torch.where(head, options.head_steps * options.steps * n / n.max(), options.steps * n.min() / n)
    return torch.where(head, -1.0, 1.0).double(), (steps + 0.5).floor().long()


def moves_of(signs: Tensor, steps: Tensor, rate: float) -> Tensor:
    """Return the signed length of each class's steps: float64 (K, C), 0 after its last step.

    signs, steps: of `signs_and_steps`; K: the most steps that a class takes.
    """
    return rate * signs * (steps > torch.arange(int(steps.max()))[:, None])


def class_perturbations(logits: Tensor, label: Tensor, moves: Tensor) -> Tensor:
    """Return delta of each class, (C, C), from 0 by steps along the direction of its batch-mean gradient; no graph.

    logits: (n, C); label: int64 (n,); moves: (K, C). A class that is not in the batch stays at 0.
    """
    classes = logits.shape[1]
    one_hot = F.one_hot(label, classes).to(logits)
    delta = logits.new_zeros(classes, classes)
    for move in moves.to(logits):
        slope = one_hot.T @ ((logits + delta[label]).softmax(1) - one_hot)  # row c: the sum over class c, as its mean
        delta += move[:, None] * F.normalize(slope, dim=1, eps=torch.finfo(slope.dtype).tiny)
    return delta


class Lpl(Method):
    """delta of the picture's class, with or without the log priors; it is held constant.

    moves: (K, C), of `moves_of`; prior: (C,), or None.
    """

    def __init__(self, counts: Tensor, options: Options) -> None:
        self.moves = moves_of(*signs_and_steps(counts, options), options.rate)
        self.prior = adjustment(counts, 1.0) if options.prior else None

    def enter(self, stage: int, network: Classifier) -> None:
        self.moves = self.moves.to(network.head.weight)
        self.prior = None if self.prior is None else self.prior.to(network.head.weight)

    def terms(self, view: View) -> Terms:
        if self.prior is None:
            return Terms(delta=class_perturbations(view.logits, view.label, self.moves)[view.label])
        prior = self.prior.to(view.logits)
        return Terms(delta=prior + class_perturbations(view.logits + prior, view.label, self.moves)[view.label])


def build(options: Options, context: Context) -> Lpl:
    """Return the method. Raises SettingError for a class without pictures."""
    context.table.require_all_classes(context.method)
    return Lpl(context.table.class_counts(), options)
