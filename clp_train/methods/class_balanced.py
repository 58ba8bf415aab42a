"""Class-balanced cross entropy (Cui et al. 2019): class weights by the effective number of pictures."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from clp_aug.common.settings import Settings, setting
from clp_train.algorithm.characteristics import View
from clp_train.algorithm.method import Context, Method
from clp_train.algorithm.objective import Terms
from clp_train.methods.parts.class_weights import effective_weights
from clp_train.models.parts import Classifier, device_of


@dataclass(frozen=True)
class Options(Settings):
    """The setting of class weights. Source: Cui et al. 2019."""

    beta: float = setting(
        0.9999, "beta of the effective number of pictures; 0 gives all classes the same weight.", low=0, below=1,
        source="their best for CIFAR-10-LT",
    )  # fmt: skip


class ClassBalanced(Method):
    """w_i = w_c of the own class, of mean 1 over the classes, from the first epoch; the sum is divided by n."""

    def __init__(self, counts: Tensor, beta: float) -> None:
        self.weights = effective_weights(counts, beta)

    def enter(self, stage: int, network: Classifier) -> None:
        self.weights = self.weights.to(device_of(network))

    def terms(self, view: View) -> Terms:
        return Terms(weight=self.weights.to(view.logits)[view.label])


def build(options: Options, context: Context) -> ClassBalanced:
    """Return the method. Raises SettingError for a class without pictures."""
    context.table.require_all_classes(context.method)
    return ClassBalanced(context.table.class_counts(), options.beta)
