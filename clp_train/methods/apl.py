"""Active passive loss (Ma et al. 2020): a normalised loss that fits, and one that keeps off other classes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from clp_aug.contract.errors import pick
from clp_train.methods.parts import noisy_losses
from clp_train.algorithm.characteristics import View
from clp_train.algorithm.method import Context, Method
from clp_train.algorithm.table import TrainTable
from clp_train.algorithm.objective import Terms

Loss = Callable[[Tensor, Tensor], Tensor]
ACTIVE = ("nce", "nfl")
PASSIVE: dict[str, Loss] = {
    "rce": noisy_losses.reverse_cross_entropy,
    "mae": noisy_losses.mean_absolute_error,
}


@dataclass(frozen=True)
class Options:
    """active, passive: the pair; alpha, beta: their weights; gamma: of "nfl".

    Source: their settings for CIFAR-10. For CIFAR-100 they take alpha 10 with beta 0.1 for "rce" and 1 for "mae".
    """

    active: str = "nce"
    passive: str = "rce"
    alpha: float = 1.0
    beta: float = 1.0
    gamma: float = 0.5

    def __post_init__(self) -> None:
        pick(dict.fromkeys(ACTIVE), self.active, "active loss")
        pick(PASSIVE, self.passive, "passive loss")
        for name in ("alpha", "beta", "gamma"):
            require_within(name, getattr(self, name), 0)


class ActivePassive(Method):
    """alpha times the active loss plus beta times the passive one."""

    def __init__(self, options: Options) -> None:
        self.options, self.passive = options, PASSIVE[options.passive]
        self.active: Loss = noisy_losses.normalised_cross_entropy
        if options.active == "nfl":
            self.active = functools.partial(noisy_losses.normalised_focal, gamma=options.gamma)

    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        """Return the weighted sum of both, (n,)."""
        return self.options.alpha * self.active(logits, label) + self.options.beta * self.passive(logits, label)

    def terms(self, view: View) -> Terms:
        return Terms(loss=self.loss)


def build(config: TrainConfig, table: TrainTable, generator: torch.Generator) -> ActivePassive:
    """Return the method."""
    return ActivePassive(make_options(config.method, config.options))
