"""WRN-28-10 for small pictures: pre-activation blocks, 16 planes at the stem, then 160, 320 and 640."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clp_train.models.parts import Classifier, Normalise, Output, start_linear

STEM = 16


class Block(nn.Module):
    """Two pre-activated 3 x 3 convolutions; where the width changes, the shortcut is a 1 x 1 convolution."""

    def __init__(self, planes_in: int, planes: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(planes_in)
        self.conv1 = nn.Conv2d(planes_in, planes, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.shortcut = nn.Conv2d(planes_in, planes, 1, stride, bias=False) if planes_in != planes else None

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.bn1(x))
        y = self.conv2(F.relu(self.bn2(self.conv1(active))))
        return y + (x if self.shortcut is None else self.shortcut(active))


class WideResNet(Classifier):
    """Depth 6 k + 4 has k blocks per group. Float (N, 3, H, W) in [0, 1] -> Output; normalises inside; no dropout.

    Source: Zagoruyko & Komodakis 2016.
    """

    def __init__(self, depth: int, widening: int, classes: int, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        count = (depth - 4) // 6
        self.normalise = Normalise(mean, std)
        self.stem = nn.Conv2d(3, STEM, 3, 1, 1, bias=False)
        blocks, before = [], STEM
        for group in range(3):
            planes = STEM * widening * 2**group
            for i in range(count):
                blocks.append(Block(before, planes, 2 if group and not i else 1))
                before = planes
        self.blocks = nn.Sequential(*blocks)
        self.bn = nn.BatchNorm2d(before)
        self.head = nn.Linear(before, classes)
        self.tail = (f"blocks.{len(blocks) - 1}.", "bn.", "head.")

    def forward(self, x: Tensor) -> Output:
        x = self.blocks(self.stem(self.normalise(x)))
        features = F.relu(self.bn(x)).mean((2, 3))
        return Output(features, self.head(features))


def build(
    shape: tuple[int, int], classes: int, mean: Sequence[float], std: Sequence[float], generator: torch.Generator
) -> WideResNet:
    """Return a wide ResNet of shape (depth, widening), initialised only from `generator`: Kaiming normal by fan-out."""
    network = WideResNet(*shape, classes, mean, std)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", generator=generator)
    start_linear(network.head, generator)
    return network
