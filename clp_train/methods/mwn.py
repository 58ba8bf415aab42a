"""Meta-Weight-Net (Shu et al. 2019): a weight for each picture, learned from its loss by the meta step.

The authors' two repositories differ. For wrong labels the weights are functions of constant losses, and Adam moves
Omega. For long tails the virtual step also follows the gradient of the weights, and SGD moves Omega. The first is the
default.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clp_aug.common.settings import setting
from clp_aug.contract.errors import SettingError
from clp_aug.contract.schema import ORIGINAL
from clp_train.algorithm.characteristics import View
from clp_train.algorithm.losses import cross_entropy
from clp_train.algorithm.method import Context, Learner
from clp_train.algorithm.objective import NORMALISERS, Terms
from clp_train.algorithm.quick_optimisers import SGD
from clp_train.methods.parts.checks import require_exact_meta_step
from clp_train.methods.parts.omega import OmegaRate

WIDTH, DECAY = 100, 1e-4
MOMENTUM, SGD_DECAY = 0.9, 5e-4  # of Omega, if SGD moves it


@dataclass(frozen=True)
class Options(OmegaRate):
    """The settings of Meta-Weight-Net."""

    normaliser: str = setting(
        "n", "Divide the weighted sum by the number of pictures, or by the sum of the weights.", choices=NORMALISERS,
        source="the authors' code: n for wrong labels, sum_w for long tails",
    )  # fmt: skip
    attached: bool = setting(
        False, "Differentiate each weight by its picture's loss in the virtual step, instead of holding it constant.",
        source="the authors' code: true for long tails",
    )  # fmt: skip
    omega_optimiser: str = setting(
        "adam", "Optimiser of Omega: Adam, or SGD with Nesterov momentum 0.9, which needs another omega_lr.",
        choices=("adam", "sgd"), source="the authors' code: sgd with omega_lr 1e-5 for long tails",
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


def attached_weights(network: nn.Module, losses: Tensor, normaliser: str) -> Tensor:
    """Return (n,), with a graph to the network: n times the slopes of L = (1/Z) sum_i v(l_i) l_i, v's own included.

    As weights of losses, whose sum is divided by n, they give the gradients of L. losses: (n,); normaliser: of Z.
    """
    leaf = losses.detach().requires_grad_()
    weight = network(leaf)
    total = weight.sum() if normaliser == "sum_w" else len(leaf)
    (slope,) = torch.autograd.grad((weight * leaf).sum() / total, leaf, create_graph=True)
    return len(leaf) * slope


class MetaWeightNet(Learner):
    """Weights v(loss); in the real step they are constant. virtual: whether the terms are those of the virtual step."""

    meta_kinds = (ORIGINAL,)

    def __init__(self, options: Options, generator: torch.Generator) -> None:
        super().__init__(WeightNet(generator), options.omega_lr, DECAY)
        if options.omega_optimiser == "sgd":
            self.optimiser = SGD(self.learned, options.omega_lr, MOMENTUM, weight_decay=SGD_DECAY, nesterov=True)
        self.normaliser, self.attached = options.normaliser, options.attached
        self.virtual = False

    def observe(self, view: View) -> None:
        self.virtual = self.attached

    def terms(self, view: View) -> Terms:
        losses = cross_entropy(view.logits, view.label)
        if self.virtual:
            return Terms(weight=attached_weights(self.network, losses, self.normaliser))
        return Terms(weight=self.network(losses), normaliser=self.normaliser)

    def update(self, gradients: Sequence[Tensor]) -> None:
        super().update(gradients)
        self.virtual = False


def build(options: Options, context: Context) -> MetaWeightNet:
    """Return the method before its first step. Raises SettingError for attached weights with a lagged meta step."""
    if options.attached:
        require_exact_meta_step(context, "with attached = true needs its own virtual step")
        interval = context.meta_step.meta_interval
        if interval > 1:
            reason = f"method {context.method} with attached = true takes a meta step before every real one"
            raise SettingError("meta_interval", interval, reason, {"meta_interval": 1})
    return MetaWeightNet(options, context.generator)
