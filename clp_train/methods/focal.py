"""Focal loss (Lin et al. 2017), also with class weights (Cui et al. 2019): correctly classified pictures count less.

Two forms: "softmax" modulates the cross entropy; "sigmoid" modulates the logistic loss of each class against the rest,
as in both papers. Both compute with logarithms: the slope of (1 - p)^gamma is infinite at p = 1 for gamma < 1.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from clp_aug.common.settings import Settings, setting
from clp_train.algorithm.characteristics import View
from clp_train.algorithm.losses import counterfactual_loss, cross_entropy
from clp_train.algorithm.method import Context, Method
from clp_train.algorithm.objective import Terms
from clp_train.methods.parts.class_weights import effective_weights
from clp_train.models.parts import Classifier, device_of


def softmax_focal(logits: Tensor, label: Tensor, gamma: float, detached: bool = False) -> Tensor:
    """Return (1 - p_y)^gamma times -log p_y of each picture, (n,), p of the softmax. logits: (n, C); label: (n,).

    detached: hold the factor constant.
    """
    factor = (-gamma * counterfactual_loss(logits, label)).exp()
    return (factor.detach() if detached else factor) * cross_entropy(logits, label)


def sigmoid_focal(logits: Tensor, label: Tensor, gamma: float, detached: bool = False) -> Tensor:
    """Return the sum over c of (1 - q_c)^gamma times -log q_c, (n,), q_c the probability of the truth for class c.

    q_c is sigmoid(z_c) for the own class and 1 - sigmoid(z_c) for each other. logits: (n, C); label: int64 (n,);
    detached: hold the factors constant.
    """
    signed = torch.where(F.one_hot(label, logits.shape[1]).bool(), logits, -logits)
    factor = (gamma * F.logsigmoid(-signed)).exp()
    return -((factor.detach() if detached else factor) * F.logsigmoid(signed)).sum(1)


FORMS = {"softmax": softmax_focal, "sigmoid": sigmoid_focal}


@dataclass(frozen=True)
class Options(Settings):
    """The settings of the focal loss. Source: Lin et al. 2017."""

    gamma: float = setting(
        2.0, "Exponent: the higher, the less pictures count that are right; 0 gives the plain loss.", low=0,
        source="their best",
    )  # fmt: skip
    form: str = setting(
        "softmax", "Loss that is modulated: cross entropy, or the logistic loss of each class against the rest.",
        choices=tuple(FORMS), source="both papers have sigmoid",
    )  # fmt: skip
    detached: bool = setting(
        False, "Hold the factor constant: it is a weight without a gradient.",
        source="as the code of the benchmarks of Tables 7 and 8",
    )  # fmt: skip


@dataclass(frozen=True)
class BalancedOptions(Options):
    """The settings of the focal loss with class weights. Source: Cui et al. 2019, theirs for CIFAR-10-LT."""

    gamma: float = setting(
        1.0, "Exponent: the higher, the less pictures count that are right; 0 gives the plain loss.", low=0
    )
    beta: float = setting(
        0.9999, "beta of the effective number of pictures; 0 gives all classes the same weight.", low=0, below=1
    )


OPTIONS = {"focal": Options, "cb-focal": BalancedOptions}


class Focal(Method):
    """The loss, with or without class weights; its sum is divided by n. weights: (C,), or None."""

    def __init__(self, options: Options, weights: Tensor | None = None) -> None:
        self.loss: Callable[[Tensor, Tensor], Tensor] = functools.partial(
            FORMS[options.form], gamma=options.gamma, detached=options.detached
        )
        self.weights = weights
        if options.form == "sigmoid":
            self.head = "sigmoid"

    def enter(self, stage: int, network: Classifier) -> None:
        self.weights = None if self.weights is None else self.weights.to(device_of(network))

    def terms(self, view: View) -> Terms:
        weight = None if self.weights is None else self.weights.to(view.logits)[view.label]
        return Terms(weight=weight, loss=self.loss)


def build(options: Options, context: Context) -> Focal:
    """Return the method. Raises SettingError for a class without pictures if classes are weighted."""
    if not isinstance(options, BalancedOptions):
        return Focal(options)
    context.table.require_all_classes(context.method)
    return Focal(options, effective_weights(context.table.class_counts(), options.beta))
