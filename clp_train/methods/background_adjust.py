"""Background adjustment: tau log P(class | background), added within the loss; no meta step.

The bias product of Clark et al. (2019). The biased model here is a linear classifier on pictures without their object.
CLP with `omega_start=background` starts from this, so the difference to it shows the effect of CLP's meta step.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from clp_aug.common.settings import setting
from clp_train.algorithm.characteristics import View
from clp_train.algorithm.method import Context, Method, Scores
from clp_train.algorithm.objective import Terms
from clp_train.backgrounds.prior import background_start
from clp_train.methods.parts.backgrounds import BackgroundEpochs
from clp_train.methods.parts.placing import beside


@dataclass(frozen=True)
class Options(BackgroundEpochs):
    """The settings of background adjustment. Source: ours."""

    tau: float = setting(1.0, "Factor of log P(class | background) in the logits; 0 gives plain cross entropy.", low=0)


class BackgroundAdjust(Method):
    """prior: float32 (N, C), of the training pictures, from the network as it is before the first step."""

    perturbs = True
    sees_background = True

    def __init__(self, options: Options, context: Context) -> None:
        self.tau, self.context = options.tau, context
        self.background_epochs = options.background_epochs
        self.prior = torch.zeros(len(context.table.label), context.table.classes)

    def begin_epoch(self, epoch: int, epochs: int, scores: Scores) -> None:
        if epoch == 0:
            self.prior = background_start(scores, self.context)

    def terms(self, view: View) -> Terms:
        return Terms(delta=self.tau * beside(self.prior[view.row], view.logits))

    def state_dict(self) -> dict[str, Tensor]:
        return {"prior": self.prior}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.prior = state["prior"]


def build(options: Options, context: Context) -> BackgroundAdjust:
    """Return the method before its first step."""
    return BackgroundAdjust(options, context)
