"""Background adjustment: tau log P(class | background), added within the loss; no meta step.

The bias product of Clark et al. (2019), whose biased model here is a linear classifier on pictures without their
object. Where CLP starts with `omega_start=background`; what its meta step is worth shows against this.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from clp_train.backgrounds.prior import background_start
from clp_train.algorithm.characteristics import View
from clp_train.algorithm.method import Context, Method
from clp_train.algorithm.table import TrainTable
from clp_train.algorithm.objective import Terms
from clp_train.algorithm.method import Scores


@dataclass(frozen=True)
class Options:
    """tau: what the log probabilities are multiplied by; 0 for plain cross entropy."""

    tau: float = 1.0

    def __post_init__(self) -> None:
        require_within("tau", self.tau, 0)


class BackgroundAdjust(Method):
    """prior: float32 (N, C), of the training pictures, from the network as it is before the first step."""

    perturbs = True
    sees_background = True

    def __init__(self, config: TrainConfig, table: TrainTable) -> None:
        self.tau, self.config = make_options(config.method, config.options).tau, config
        self.table, self.prior = table, torch.zeros(len(table.label), table.classes)

    def begin_epoch(self, epoch: int, epochs: int, scores: Scores) -> None:
        if epoch == 0:
            self.prior = background_start(scores, self.table, self.config)

    def terms(self, view: View) -> Terms:
        return Terms(delta=self.tau * self.prior[view.row].to(view.logits))

    def state_dict(self) -> dict[str, Tensor]:
        return {"prior": self.prior}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.prior = state["prior"]


def build(config: TrainConfig, table: TrainTable, generator: torch.Generator) -> BackgroundAdjust:
    """Return the method before its first step."""
    return BackgroundAdjust(config, table)
