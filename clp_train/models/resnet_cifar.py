"""ResNet-8/20/32 for small pictures of any size: three groups of basic blocks, 16, 32 and 64 planes wide."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clp_train.models.parts import Classifier, Normalise, Output

WIDTHS = (16, 32, 64)


class Block(nn.Module):
    """Two 3 x 3 convolutions with a parameter-free shortcut (option A of He et al. 2016)."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.stride, self.new_planes = width // width_in, width - width_in
        self.conv1 = nn.Conv2d(width_in, width, 3, self.stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.new_planes:  # every second pixel, and planes of zeros on both sides
            half = self.new_planes // 2
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, self.new_planes - half))
        return F.relu(x + y)


class ResNet(Classifier):
    """3 x 3 stem, 3 groups of `blocks` blocks, global average pool, linear head; 6 * blocks + 2 layers.

    Float (N, 3, H, W) in [0, 1] -> Output; normalises inside. Source: He et al. 2016, section 4.2.
    """

    def __init__(self, blocks: int, classes: int, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.normalise = Normalise(mean, std)
        self.stem = nn.Conv2d(3, WIDTHS[0], 3, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(WIDTHS[0])
        before = (WIDTHS[0], *WIDTHS[:-1])
        self.groups = nn.Sequential(
            *(Block(b if i == 0 else w, w) for b, w in zip(before, WIDTHS, strict=True) for i in range(blocks))
        )
        self.head = nn.Linear(WIDTHS[-1], classes)
        self.tail = (f"groups.{len(self.groups) - 1}.", "head.")

    def forward(self, x: Tensor) -> Output:
        x = F.relu(self.bn(self.stem(self.normalise(x))))
        features = self.groups(x).mean((2, 3))
        return Output(features, self.head(features))


def build(blocks: int, classes: int, mean: Sequence[float], std: Sequence[float], generator: torch.Generator) -> ResNet:
    """Return a ResNet of 6 * blocks + 2 layers, with Kaiming initialisation only from `generator`."""
    network = ResNet(blocks, classes, mean, std)
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, generator=generator)
    bound = 1 / math.sqrt(WIDTHS[-1])
    nn.init.uniform_(network.head.bias, -bound, bound, generator=generator)
    return network
