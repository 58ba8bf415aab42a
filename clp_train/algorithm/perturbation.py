"""PERTURB: Omega, the network that turns the ten characteristics of a picture into its logit perturbation."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clp_train.algorithm.characteristics import CHARACTERISTICS

WIDTH = 100
BOUND = 3.0
FORMS = ("full", "bounded", "true-class")


class Omega(nn.Module):
    """Two-layer perceptron 10 -> 100 -> C: standardised characteristics (n, 10) and labels (n,) -> delta (n, C).

    form: "full" gives C free numbers; "bounded" 3 tanh of them; "true-class" one number, 3 tanh of it, for the
    picture's own class only. start: the last layer starts at zero, its bias too, or for "log-prior" at the log class
    priors (logit adjustment; "full" only). counts: pictures of each class, float (C,); generator: of the start values,
    by default torch's own. Source: section 3.2 of the paper; width, forms and starts are ours.
    """

    def __init__(
        self, counts: Tensor, form: str = "full", start: str = "zero", generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.form, self.classes, self.counts = form, len(counts), counts
        inputs = len(CHARACTERISTICS)
        self.hidden = nn.Linear(inputs, WIDTH)
        self.last = nn.Linear(WIDTH, 1 if form == "true-class" else self.classes)
        bound = 1 / math.sqrt(inputs)
        for values in self.hidden.parameters():
            nn.init.uniform_(values, -bound, bound, generator=generator)
        for values in self.last.parameters():
            nn.init.zeros_(values)
        if start == "log-prior":
            self.last.bias.data = (counts / counts.sum()).log()

    def forward(self, g: Tensor, label: Tensor) -> Tensor:
        raw: Tensor = self.last(self.hidden(g).relu())
        if self.form == "full":
            return raw
        bounded = BOUND * raw.tanh()
        return bounded if self.form == "bounded" else bounded * F.one_hot(label, self.classes)
