"""MetaSAug (Li et al. 2021): ISDA late in the run, with covariances that each meta step corrects, and balanced classes.

Plain cross entropy first. Then, each step: Sigma~ = Sigma - rate * gradient of the meta loss at the virtual weights,
used only for this step; the running covariance of the features is kept, as in the authors' code. Sigma~ need not be
positive semi-definite, there or here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from clp_aug.common.settings import setting
from clp_aug.contract.schema import ORIGINAL
from clp_train.algorithm.characteristics import View
from clp_train.algorithm.method import Context
from clp_train.algorithm.objective import Terms
from clp_train.methods import isda
from clp_train.methods.parts.checks import require_exact_meta_step
from clp_train.methods.parts.class_weights import effective_weights
from clp_train.methods.parts.moments import isda_delta
from clp_train.models.parts import Classifier, device_of


@dataclass(frozen=True)
class Options(isda.Options):
    """The settings of MetaSAug. Source: the authors' code."""

    start: float = setting(
        0.8, "Share of the run's epochs with plain cross entropy.", low=0, high=1, source="160 of 200 epochs"
    )
    rate: float = setting(0.1, "Learning rate of the covariances.", low=0)
    beta: float = setting(
        0.9999, "beta of the effective number of pictures; 0 gives all classes the same weight.", low=0, below=1
    )


class MetaSaug(isda.Isda):
    """learned: the covariances of this step, without its own batch; weights: of the classes, (C,)."""

    meta_kinds = (ORIGINAL,)

    def __init__(self, options: Options, counts: Tensor) -> None:
        super().__init__(options.strength, options.covariance)
        self.start, self.rate = options.start, options.rate
        self.weights = effective_weights(counts, options.beta)

    def enter(self, stage: int, network: Classifier) -> None:
        super().enter(stage, network)
        self.weights = self.weights.to(device_of(network))
        self.take_leaf()

    def take_leaf(self) -> None:
        """Let the meta step move a copy of the running covariances."""
        self.learned = (self.require_moments().covariance.clone().requires_grad_(),)

    def learns(self, progress: float) -> bool:
        return progress >= self.start

    def observe(self, view: View) -> None:
        self.take_leaf()
        super().observe(view)

    def terms(self, view: View) -> Terms:
        if not self.has_started:
            return Terms()
        return Terms(self.delta(view), self.weights.to(view.logits)[view.label], normaliser="sum_w")

    def delta(self, view: View) -> Tensor:
        return isda_delta(self.weight(view), self.learned[0], view.label, self.strength * self.progress)

    def update(self, gradients: Sequence[Tensor]) -> None:
        self.learned = tuple(s.detach() - self.rate * g for s, g in zip(self.learned, gradients, strict=True))


def build(options: Options, context: Context) -> MetaSaug:
    """Return the method. Raises SettingError for a class without pictures, and for a lagged meta step."""
    context.table.require_all_classes(context.method)
    require_exact_meta_step(context, "corrects the covariances of the step itself")
    return MetaSaug(options, context.table.class_counts())
