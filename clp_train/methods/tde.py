"""De-confounded training and total direct effect (Tang et al. 2020): remove the drift by momentum from predictions.

Training: plain cross entropy on a last layer of normalised parts. Features drift towards frequent classes, and their
mean shows the direction. Predictions leave out the part of the features along this direction.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from clp_aug.common.settings import Settings, setting
from clp_train.algorithm.characteristics import View
from clp_train.algorithm.method import Context, Method
from clp_train.models.heads import CausalNormHead
from clp_train.models.parts import Classifier, Output


@dataclass(frozen=True)
class Options(Settings):
    """The settings of TDE. Source: Tang et al. 2020."""

    alpha: float = setting(
        1.0, "Factor of the part along the mean of the features that is subtracted; 0 subtracts nothing.", low=0,
        source="theirs for CIFAR-10-LT; 1.5 for CIFAR-100-LT, 3 for ImageNet-LT",
    )  # fmt: skip
    decay: float = setting(0.9, "Decay of the running mean of the features.", low=0, high=1)


class Tde(Method):
    """The head holds the running mean of features, mean <- decay mean + batch mean; only its direction matters."""

    head = "causal-norm"

    def __init__(self, options: Options) -> None:
        self.options = options

    def enter(self, stage: int, network: Classifier) -> None:
        self.last = causal(network.head)

    def observe(self, view: View) -> None:
        self.last.mean.mul_(self.options.decay).add_(view.features.mean(0))

    def predict(self, out: Output, head: nn.Linear) -> Tensor:
        last = causal(head)
        return last.logits(out.features, last.mean, self.options.alpha)


def causal(head: nn.Linear) -> CausalNormHead:
    """Return a last layer as a CausalNormHead. Raises TypeError for another kind."""
    if not isinstance(head, CausalNormHead):
        raise TypeError(f"{type(head).__name__}: expected CausalNormHead")
    return head


def build(options: Options, context: Context) -> Tde:
    """Return the method."""
    return Tde(options)
