"""De-confounded training and total direct effect (Tang et al. 2020): what momentum drags along is taken off at the end.

In training, plain cross entropy on a last layer of normed parts; features drift towards the classes that come most
often, and their mean shows where to. Pictures are judged without the part of their features along it.
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
        1.0, "Factor of what lies along the mean of the features and is taken off; 0 takes nothing off.", low=0,
        source="theirs for CIFAR-10-LT; 1.5 for CIFAR-100-LT, 3 for ImageNet-LT",
    )  # fmt: skip
    decay: float = setting(0.9, "Decay of the running mean of the features.", low=0, high=1)


class Tde(Method):
    """The running mean of features, mean <- decay mean + batch mean, is the head's; only its direction matters."""

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
    """Return a last layer as what it is. Raises TypeError for another kind, which has no mean of the features."""
    if not isinstance(head, CausalNormHead):
        raise TypeError(f"{type(head).__name__}: expected CausalNormHead")
    return head


def build(options: Options, context: Context) -> Tde:
    """Return the method."""
    return Tde(options)
