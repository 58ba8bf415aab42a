"""Meta-Weight-Net (Shu et al. 2019): a weight for each picture, learned from its loss by the meta step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clp_aug.contract.errors import pick
from clp_aug.contract.schema import ORIGINAL
from clp_train.characteristics import View
from clp_train.config import TrainConfig
from clp_train.losses import cross_entropy
from clp_train.methods import make_options
from clp_train.methods.base import Learner, TrainTable
from clp_train.objective import NORMALISERS, Terms

WIDTH, DECAY = 100, 1e-4


@dataclass(frozen=True)
class Options:
    """normaliser: what the weighted sum is divided by, "n", or "sum_w" for the sum of the weights.

    Source: the authors' code has the first for wrong labels and the second for long tails.
    """

    normaliser: str = "n"

    def __post_init__(self) -> None:
        pick(dict.fromkeys(NORMALISERS), self.normaliser, "normaliser")


class WeightNet(nn.Module):
    """Perceptron 1 -> 100 -> 1 with a sigmoid: losses (n,) -> weights (n,) in (0, 1)."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.hidden, self.last = nn.Linear(1, WIDTH), nn.Linear(WIDTH, 1)
        for layer in (self.hidden, self.last):
            bound = layer.in_features**-0.5
            for values in layer.parameters():
                nn.init.uniform_(values, -bound, bound, generator=generator)

    def forward(self, losses: Tensor) -> Tensor:
        return self.last(self.hidden(losses[:, None]).relu()).sigmoid().squeeze(1)


class MetaWeightNet(Learner):
    """Weights v(loss), the loss detached: the stable form of the authors' code."""

    meta_kinds = (ORIGINAL,)

    def __init__(self, config: TrainConfig, generator: torch.Generator) -> None:
        super().__init__(WeightNet(generator), config.omega_lr, DECAY)
        self.normaliser = make_options(config.method, config.options).normaliser

    def terms(self, view: View) -> Terms:
        weight = self.network(cross_entropy(view.logits, view.label))
        return Terms(weight=weight, normaliser=self.normaliser)


def build(config: TrainConfig, table: TrainTable, generator: torch.Generator) -> MetaWeightNet:
    """Return the method before its first step."""
    return MetaWeightNet(config, generator)
