"""Active passive loss (Ma et al. 2020): a normalised loss that fits labels, and one that avoids other classes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from clp_aug.common.settings import Settings, setting
from clp_train.algorithm.characteristics import View
from clp_train.algorithm.method import Context, Method
from clp_train.algorithm.objective import Terms
from clp_train.methods.parts import noisy_losses

Loss = Callable[[Tensor, Tensor], Tensor]
ACTIVE = ("nce", "nfl")
PASSIVE: dict[str, Loss] = {
    "rce": noisy_losses.reverse_cross_entropy,
    "mae": noisy_losses.mean_absolute_error,
}


@dataclass(frozen=True)
class Options(Settings):
    """The settings of the active passive loss. Source: the authors' settings for CIFAR-10."""

    active: str = setting("nce", "Loss that fits: normalised cross entropy, or normalised focal loss.", choices=ACTIVE)
    passive: str = setting(
        "rce", "Loss that avoids the other classes: reverse cross entropy, or mean absolute error.",
        choices=tuple(PASSIVE),
    )  # fmt: skip
    alpha: float = setting(1.0, "Weight of the active loss.", low=0, source="theirs for CIFAR-100 is 10")
    beta: float = setting(
        1.0, "Weight of the passive loss.", low=0, source="theirs for CIFAR-100 is 0.1 with rce, 1 with mae"
    )
    gamma: float = setting(0.5, "Exponent of the normalised focal loss.", low=0, works_with=("active", ("nfl",)))


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


def build(options: Options, context: Context) -> ActivePassive:
    """Return the method."""
    return ActivePassive(options)
