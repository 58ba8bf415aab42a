"""What all classifiers share: their output, input normalisation, start values, frozen batch norm, the last block."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Output(NamedTuple):
    """What a classifier returns. features: (N, A), the head's input; logits: (N, C)."""

    features: Tensor
    logits: Tensor


class Normalise(nn.Module):
    """Float (N, 3, H, W) in [0, 1] minus each channel's mean, over its standard deviation."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


def start_linear(linear: nn.Linear, generator: torch.Generator) -> None:
    """Start weight and bias uniformly in +-1 / sqrt(inputs), torch's own way, from `generator` alone."""
    bound = 1 / math.sqrt(linear.in_features)
    for parameter in linear.parameters():
        nn.init.uniform_(parameter, -bound, bound, generator=generator)


class FrozenBatchNorm2d(nn.BatchNorm2d):
    """Batch norm that uses its running statistics in training too; scale and shift still learn."""

    def train(self, mode: bool = True) -> FrozenBatchNorm2d:
        return super().train(False)


def frozen_batch_norm(network: nn.Module) -> nn.Module:
    """Keep a network's batch norms in evaluation mode for good, in place, and return it.

    For pretrained networks on small batches: no picture's output depends on the others of its batch.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.__class__ = FrozenBatchNorm2d  # the same tensors under the same names, whoever holds them
            module.eval()
    return network


def last_block(network: nn.Module) -> tuple[str, ...]:
    """Return the names of the parameters of a classifier's last block and its head, in the network's order."""
    return tuple(name for name, _ in network.named_parameters() if name.startswith(network.tail))
