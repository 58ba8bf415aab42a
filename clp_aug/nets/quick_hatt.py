"""The matting network for a CPU: the same mattes as from `hatt_lite`, in about two thirds of the time."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from clp_aug.nets.efficientnet_lite import MEAN, STD, Block
from clp_aug.nets.hatt_lite import Backbone, HattLite, taps_of
from clp_aug.nets.quick_layers import SIX, Activated, Product, QuickBlock


class QuickBackbone(nn.Module):
    """The backbone of a folded network: the same taps; the sides of its input must be multiples of the stride."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.stem = Activated(backbone.stem, SIX)
        self.blocks = nn.Sequential(*(QuickBlock(block) for block in backbone.blocks if isinstance(block, Block)))

    def forward(self, x: Tensor) -> list[Tensor]:
        return taps_of(self.blocks, self.stem((x - MEAN) / STD))


def quicken(network: HattLite) -> HattLite:
    """Change a network from `hatt_lite.load` in place for inference on a CPU, and return it.

    On one thread the matte of a single picture is bit-identical. In batches and on more threads sums may be rounded in
    another order, as in the original network.
    """
    parts: Any = network
    parts.backbone = QuickBackbone(network.backbone)
    for fusion in (parts.coarse, parts.fine):
        if fusion.attention is not None:
            for path in fusion.attention.paths:
                for first in (0, 2):  # convolution, ReLU, convolution, ReLU
                    path[first], path[first + 1] = Activated(path[first]), nn.Identity()
            fusion.attention.map = Product(fusion.attention.map)
    for module in network.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = True
    return network
