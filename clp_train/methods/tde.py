"""De-confounded training and total direct effect (Tang et al. 2020): what momentum drags along is taken off at the end.

In training, plain cross entropy on a last layer of normed parts; features drift towards the classes that come most
often, and their mean shows where to. Pictures are judged without the part of their features along it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clp_train.algorithm.characteristics import View
from clp_train.algorithm.method import Method
from clp_train.algorithm.table import TrainTable
from clp_train.models.parts import Output


@dataclass(frozen=True)
class Options:
    """alpha: how much of what lies along the mean is taken off, 0 for nothing; decay: of the running mean.

    Source: theirs for CIFAR-10-LT; alpha 1.5 for CIFAR-100-LT, 3 for ImageNet-LT.
    """

    alpha: float = 1.0
    decay: float = 0.9

    def __post_init__(self) -> None:
        require_within("alpha", self.alpha, 0)
        require_within("decay", self.decay, 0, 1)


class Tde(Method):
    """The running mean of features, mean <- decay mean + batch mean, whose direction alone matters, is the head's."""

    head = "causal-norm"

    def __init__(self, options: Options) -> None:
        self.options = options

    def enter(self, stage: int, network: nn.Module) -> None:
        self.last = network.head

    def observe(self, view: View) -> None:
        self.last.mean.mul_(self.options.decay).add_(view.features.mean(0))

    def predict(self, out: Output, head: nn.Linear) -> Tensor:
        return head.logits(out.features, head.mean, self.options.alpha)


def build(config: TrainConfig, table: TrainTable, generator: torch.Generator) -> Tde:
    """Return the method."""
    return Tde(make_options(config.method, config.options))
