"""PERTURB: Omega, the network that turns the ten characteristics of a picture into its logit perturbation."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from clp_train.characteristics import CHARACTERISTICS

WIDTH = 100


class Omega(nn.Module):
    """Two-layer perceptron 10 -> 100 -> C: standardised characteristics (n, 10) -> delta (n, C).

    The last layer starts at zero, so the first step is plain cross entropy. Source: section 3.2 of the paper; width
    and start values are ours.
    """

    def __init__(self, classes: int, generator: torch.Generator) -> None:
        super().__init__()
        self.hidden = nn.Linear(len(CHARACTERISTICS), WIDTH)
        self.last = nn.Linear(WIDTH, classes)
        bound = 1 / math.sqrt(len(CHARACTERISTICS))
        for values in self.hidden.parameters():
            nn.init.uniform_(values, -bound, bound, generator=generator)
        for values in self.last.parameters():
            nn.init.zeros_(values)

    def forward(self, g: Tensor) -> Tensor:
        return self.last(self.hidden(g).relu())
