"""ISDA (Wang et al. 2019): an upper bound of the loss over infinitely many features drawn around each picture's own.

As in the paper, the gradient also flows through the head's weights inside delta. So `terms` uses the network's own
weights, with their graph, not those of the view.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from clp_aug.common.settings import Settings, setting
from clp_train.algorithm.characteristics import View
from clp_train.algorithm.method import Context, Method
from clp_train.algorithm.objective import Terms
from clp_train.methods.parts.moments import FORMS, Moments, isda_delta
from clp_train.methods.parts.present import require
from clp_train.models.parts import Classifier


@dataclass(frozen=True)
class Options(Settings):
    """The settings of ISDA. Source: Wang et al. 2019."""

    strength: float = setting(
        0.5, "lambda_0, weight of the covariances at the end of the run; it grows from 0.", low=0,
        source="theirs for CIFAR; for ImageNet 7.5 with diag",
    )  # fmt: skip
    covariance: str = setting(
        "full", "Covariances of the features: whole, or their diagonals, for wide features.", choices=FORMS
    )


class Isda(Method):
    """delta_j = lambda_t / 2 (w_j - w_y)^T Sigma_y (w_j - w_y); lambda_t = lambda_0 times the finished share of epochs.

    start: before this share of epochs the loss is plain cross entropy and nothing is observed; moments: of the classes;
    they include the batch's own features before its delta is computed.
    """

    start = 0.0
    paced = True

    def __init__(self, strength: float, covariance: str) -> None:
        self.strength, self.covariance = strength, covariance
        self.moments: Moments | None = None
        self.progress = 0.0

    def enter(self, stage: int, network: Classifier) -> None:
        self.last = network.head
        moments = self.moments or Moments.start(self.last.weight, self.covariance)
        self.moments = moments.to(self.last.weight.device)

    @property
    def has_started(self) -> bool:
        """Whether the plain cross entropy part of the run is over."""
        return self.progress >= self.start

    def require_moments(self) -> Moments:
        """Return the moments. Raises ValueError before `enter` has made them."""
        return require(self.moments, "moments")

    def observe(self, view: View) -> None:
        self.progress = view.progress
        if self.has_started:
            self.require_moments().update(view.features, view.label)

    def terms(self, view: View) -> Terms:
        return Terms(self.delta(view)) if self.has_started else Terms()

    def delta(self, view: View) -> Tensor:
        """Return delta, which is added to the logits, (n, C)."""
        return isda_delta(
            self.weight(view), self.require_moments().covariance, view.label, self.strength * self.progress
        )

    def weight(self, view: View) -> Tensor:
        """Return the head's weights, (C, A): with a graph for training pictures; for meta pictures the view's."""
        return view.head if view.row is None else self.last.weight

    def state_dict(self) -> dict[str, Tensor]:
        return {f"moments.{name}": value for name, value in self.require_moments().state_dict().items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.moments = Moments(*(state[f"moments.{name}"].clone() for name in ("count", "mean", "covariance")))


def build(options: Options, context: Context) -> Isda:
    """Return the method before its first step."""
    return Isda(options.strength, options.covariance)
