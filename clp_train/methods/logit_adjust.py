"""Logit adjustment as a loss (Menon et al. 2021): delta = tau log(class prior), for every picture the same."""

from __future__ import annotations

import torch
from torch import Tensor

from clp_train.characteristics import View
from clp_train.config import TrainConfig
from clp_train.methods.base import Method, TrainTable
from clp_train.objective import Terms

TAU = 1.0


class LogitAdjust(Method):
    """delta: (C,), from the training counts; a class without training pictures has the prior 0 and -inf."""

    def __init__(self, counts: Tensor) -> None:
        self.delta = TAU * (counts / counts.sum()).log()

    def terms(self, view: View) -> Terms:
        return Terms(delta=self.delta.to(view.logits).expand_as(view.logits))


def build(config: TrainConfig, table: TrainTable, generator: torch.Generator) -> LogitAdjust:
    """Return the method."""
    return LogitAdjust(table.class_counts())
