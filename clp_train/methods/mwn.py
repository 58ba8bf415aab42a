"""Meta-Weight-Net (Shu et al. 2019): a weight for each picture, learned from its loss by the meta step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clp_aug.common.settings import setting
from clp_aug.contract.schema import ORIGINAL
from clp_train.algorithm.characteristics import View
from clp_train.algorithm.losses import cross_entropy
from clp_train.algorithm.method import Context, Learner
from clp_train.algorithm.objective import NORMALISERS, Terms
from clp_train.methods.parts.omega import OmegaRate

WIDTH, DECAY = 100, 1e-4


@dataclass(frozen=True)
class Options(OmegaRate):
    """The settings of Meta-Weight-Net."""

    normaliser: str = setting(
        "n", "Divide the weighted sum by the number of pictures, or by the sum of the weights.", choices=NORMALISERS,
        source="the authors' code: n for wrong labels, sum_w for long tails",
    )  # fmt: skip


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

    def __init__(self, options: Options, generator: torch.Generator) -> None:
        super().__init__(WeightNet(generator), options.omega_lr, DECAY)
        self.normaliser = options.normaliser

    def terms(self, view: View) -> Terms:
        weight = self.network(cross_entropy(view.logits, view.label))
        return Terms(weight=weight, normaliser=self.normaliser)


def build(options: Options, context: Context) -> MetaWeightNet:
    """Return the method before its first step."""
    return MetaWeightNet(options, context.generator)
