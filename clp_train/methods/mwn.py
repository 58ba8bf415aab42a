"""Meta-Weight-Net (Shu et al. 2019): a weight for each picture, learned from its loss by the meta step."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from clp_aug.contract.schema import ORIGINAL
from clp_train.characteristics import View
from clp_train.config import TrainConfig
from clp_train.losses import cross_entropy
from clp_train.methods.base import Learner, TrainTable
from clp_train.objective import Terms

WIDTH, DECAY = 100, 1e-4


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
    """Weights v(loss), the loss detached, not normalised: the stable form of the authors' code."""

    meta_kinds = (ORIGINAL,)

    def __init__(self, config: TrainConfig, generator: torch.Generator) -> None:
        super().__init__(WeightNet(generator), config.omega_lr, DECAY)

    def terms(self, view: View) -> Terms:
        return Terms(weight=self.network(cross_entropy(view.logits, view.label)))


def build(config: TrainConfig, table: TrainTable, generator: torch.Generator) -> MetaWeightNet:
    """Return the method before its first step."""
    return MetaWeightNet(config, generator)
