"""A small classifier in float64 with two batches, for tests of derivatives."""

from typing import NamedTuple

import torch
from torch import nn

KIND = torch.tensor([0, 1, 2, 0, 1, 2], dtype=torch.uint8)


class Out(NamedTuple):
    """What a classifier returns."""

    features: torch.Tensor
    logits: torch.Tensor


class Net(nn.Sequential):
    """Its output has features and logits, as a classifier's has."""

    def forward(self, x):
        for layer in self[:-1]:
            x = layer(x)
        return Out(x, self[-1](x))


def problem():
    """A conv-BN classifier in train mode, an Omega that is not zero, and two batches; all float64."""
    torch.manual_seed(0)  # of this test's own problem
    net = Net(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Softplus(), nn.Flatten(), nn.Linear(4 * 9, 3))
    omega = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3))
    train = torch.rand(8, 3, 5, 5, dtype=torch.float64), torch.randint(3, (8,))
    meta = torch.rand(6, 3, 5, 5, dtype=torch.float64), torch.randint(3, (6,))
    g_train, g_meta = torch.randn(8, 4, dtype=torch.float64), torch.randn(6, 4, dtype=torch.float64)
    return net.double(), omega.double(), train, meta, g_train, g_meta
