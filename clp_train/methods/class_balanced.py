"""Class-balanced cross entropy (Cui et al. 2019): a class weighs by the effective number of its pictures."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from clp_train.algorithm.characteristics import View
from clp_train.methods.parts.class_weights import effective_weights
from clp_train.algorithm.method import Context, Method
from clp_train.algorithm.table import TrainTable
from clp_train.algorithm.objective import Terms


@dataclass(frozen=True)
class Options:
    """beta: of the effective number, 0 for no weights. Source: their best for CIFAR-10-LT."""

    beta: float = 0.9999

    def __post_init__(self) -> None:
        require_within("beta", self.beta, 0, 1, below=True)


class ClassBalanced(Method):
    """w_i = w_c of the own class, of mean 1 over the classes, from the first epoch; the sum is divided by n."""

    def __init__(self, counts: Tensor, beta: float) -> None:
        self.weights = effective_weights(counts, beta)

    def terms(self, view: View) -> Terms:
        return Terms(weight=self.weights.to(view.logits)[view.label])


def build(config: TrainConfig, table: TrainTable, generator: torch.Generator) -> ClassBalanced:
    """Return the method. Raises UsageError for a class without pictures."""
    table.require_all_classes(config.method)
    return ClassBalanced(table.class_counts(), make_options(config.method, config.options).beta)
