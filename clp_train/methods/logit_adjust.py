"""Logit adjustment (Menon et al. 2021): tau log(class prior), added in the loss or subtracted from the final logits.

Balanced softmax (Ren et al. 2020) is the loss with tau = 1: log n and log prior differ by the same number everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from clp_aug.common.settings import Settings, setting
from clp_train.algorithm.characteristics import View
from clp_train.algorithm.method import Context, Method
from clp_train.algorithm.objective import Terms
from clp_train.methods import NoOptions

if TYPE_CHECKING:
    from clp_train.models.parts import Classifier, Output


@dataclass(frozen=True)
class Options(Settings):
    """The setting of logit adjustment. Source: Menon et al. 2021."""

    tau: float = setting(
        1.0, "Factor of the log class priors; 0 gives plain cross entropy.", low=0, source="theirs without tuning"
    )


OPTIONS = {"logit-adjust": Options, "la-posthoc": Options, "balanced-softmax": NoOptions}


def adjustment(counts: Tensor, tau: float) -> Tensor:
    """Return tau log(prior) of each class, float64 (C,); -inf for a class without pictures, unless tau is 0."""
    prior = counts.double() / counts.sum()
    return tau * prior.log() if tau else torch.zeros_like(prior)


class LogitAdjust(Method):
    """delta: (C,), the same for every picture; a class without training pictures has prior 0, so delta is -inf."""

    def __init__(self, counts: Tensor, tau: float) -> None:
        self.delta = adjustment(counts, tau)

    def enter(self, stage: int, network: Classifier) -> None:
        self.delta = self.delta.to(network.head.weight)

    def terms(self, view: View) -> Terms:
        return Terms(delta=self.delta.to(view.logits).expand_as(view.logits))


class PostHoc(Method):
    """Plain cross entropy; predictions use the logits minus tau log(prior)."""

    def __init__(self, counts: Tensor, tau: float) -> None:
        self.delta = adjustment(counts, tau)

    def predict(self, out: Output, head: nn.Linear) -> Tensor:
        return out.logits - self.delta.to(out.logits)


def build(options: Options | NoOptions, context: Context) -> Method:
    """Return the method. Raises SettingError for a class without pictures if it would always be predicted."""
    counts = context.table.class_counts()
    tau = options.tau if isinstance(options, Options) else 1.0
    if context.method != "la-posthoc":
        return LogitAdjust(counts, tau)
    context.table.require_all_classes(context.method)
    return PostHoc(counts, tau)
