"""The registry of last layers. Each is a linear layer with (C, A) weights, used in the way of a method."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clp_aug.contract.errors import pick
from clp_train.models.parts import ALL_BUT_HEAD, Classifier, start_linear


class CosineHead(nn.Linear):
    """Cosines of features and class weights, in [-1, 1]: float (n, A) -> (n, C). Losses scale them (`Terms.scale`).

    Source: Cao et al. 2019.
    """

    def __init__(self, features: int, classes: int) -> None:
        super().__init__(features, classes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.normalize(x, dim=1), F.normalize(self.weight, dim=1))


class SigmoidHead(nn.Linear):
    """A linear layer for losses of one class against the rest: each class starts with the probability 1 / C.

    Source: Lin et al. 2017, with the prior of Cui et al. 2019.
    """


class ScaledHead(nn.Linear):
    """A linear layer with one learnable factor per class, 1 at first: s_c (w_c f + b_c).

    Source: learnable weight scaling of Kang et al. 2020.
    """

    def __init__(self, features: int, classes: int) -> None:
        super().__init__(features, classes)
        self.scale = nn.Parameter(torch.ones(classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * super().forward(x)


class CausalNormHead(nn.Linear):
    """Features and weights in two parts, each of unit norm: z = tau / K sum_k <f_k / |f_k|, w_k / (|w_k| + gamma)>.

    mean: a running sum of features, (A,), that the method updates; it is stored with the weights that it belongs to.
    Source: Tang et al. 2020, multi-head with K = 2, tau = 16, gamma = 1 / 32.
    """

    PARTS, TAU, GAMMA = 2, 16.0, 1 / 32
    mean: Tensor

    def __init__(self, features: int, classes: int) -> None:
        super().__init__(features, classes, bias=False)
        self.register_buffer("mean", torch.zeros(features))

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(x)

    def logits(self, x: Tensor, direction: Tensor | None = None, alpha: float = 0.0) -> Tensor:
        """Return logits (n, C); with a direction, (A,), minus alpha times each part's share along it (their TDE)."""
        total = x.new_zeros(())
        columns = range(self.PARTS)
        parts = [x.chunk(self.PARTS, 1), self.weight.chunk(self.PARTS, 1)]
        directions = None if direction is None else direction.chunk(self.PARTS)
        for k in columns:
            unit_features, weight = F.normalize(parts[0][k], dim=1), parts[1][k]
            if directions is not None:
                unit = F.normalize(directions[k], dim=0)
                unit_features = unit_features - alpha * (unit_features @ unit)[:, None] * unit
            total = total + unit_features @ (weight / (weight.norm(dim=1, keepdim=True) + self.GAMMA)).T
        return self.TAU / self.PARTS * total


class DualHead(nn.Linear):
    """Two linear layers on the same features; the first one predicts. Source: Shi et al. 2023."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__(features, classes)
        self.second = nn.Linear(features, classes)


HEADS: dict[str, type[nn.Linear]] = {
    "linear": nn.Linear,
    "cosine": CosineHead,
    "sigmoid": SigmoidHead,
    "scaled": ScaledHead,
    "causal-norm": CausalNormHead,
    "dual": DualHead,
}


def make_head(name: str, features: int, classes: int, generator: torch.Generator) -> nn.Linear:
    """Return a last layer, initialised only from `generator`. Raises UsageError for an unknown name."""
    with torch.random.fork_rng(devices=[]):
        head = pick(HEADS, name, "head")(features, classes)
    start_head(head, generator)
    return head


def replace_head(network: Classifier, head: nn.Linear) -> None:
    """Replace a classifier's last layer, which may have come from its start weights."""
    network.head = head
    if network.start_weights is not None:
        network.start_weights = network.start_weights._replace(taken=ALL_BUT_HEAD)


def start_head(head: nn.Linear, generator: torch.Generator) -> None:
    """Initialise a last layer: weights and biases uniform in +-1 / sqrt(features), scales 1; rows of a cosine layer
    have norm 1, as in Cao et al. 2019; biases of a sigmoid layer are -log(C - 1).
    """
    for module in head.modules():
        if isinstance(module, nn.Linear):
            start_linear(module, generator)
    with torch.no_grad():
        if isinstance(head, ScaledHead):
            head.scale.fill_(1)
        if isinstance(head, CosineHead):
            head.weight.copy_(F.normalize(head.weight, dim=1))
        if isinstance(head, CausalNormHead):
            head.mean.zero_()
        if isinstance(head, SigmoidHead):
            head.bias.fill_(-math.log(head.out_features - 1))
