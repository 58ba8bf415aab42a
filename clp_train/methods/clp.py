"""Causal logit perturbation, Algorithm 1: Omega learns delta from the ten characteristics by the meta step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from clp_train.characteristics import ClassStats, View, characteristics, standardised
from clp_train.config import TrainConfig
from clp_train.methods.base import Method
from clp_train.perturbation import Omega


class Clp(Method):
    """Omega, its Adam, and the running class means. Source: Algorithm 1 of the paper; Adam is the authors'."""

    def __init__(self, config: TrainConfig, counts: Tensor, generator: torch.Generator) -> None:
        self.saliency_weight = config.saliency_lambda
        self.classes = ClassStats.start(counts)
        self.omega = Omega(len(counts), generator)
        self.learned = tuple(self.omega.parameters())
        self.optimiser = torch.optim.Adam(self.learned, lr=config.omega_lr)

    def observe(self, view: View) -> None:
        self.classes = self.classes.updated(view)

    def perturb(self, view: View) -> Tensor:
        return self.omega(standardised(characteristics(view, self.classes)))

    def update(self, gradients: Sequence[Tensor]) -> None:
        for values, gradient in zip(self.learned, gradients, strict=True):
            values.grad = gradient
        self.optimiser.step()


def build(config, counts, generator) -> Clp:
    """Return CLP before its first step: delta = 0."""
    return Clp(config, counts, generator)
