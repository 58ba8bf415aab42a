"""Small networks of the kind, pictures and holes for the tests beside this."""

import torch
from torch import nn

from clp_aug.nets.contextual_attention import (
    ContextualAttentionNet,
    start,
)

HEIGHT, WIDTH = 48, 64
BOXES = {  # x0, y0, x1, y1
    "inside": (20, 14, 37, 33),
    "one pixel": (16, 24, 17, 25),
    "left": (0, 5, 17, 38),
    "right": (41, 5, 64, 38),
    "top": (13, 0, 50, 19),
    "bottom": (13, 25, 50, 48),
    "corner": (39, 28, 64, 48),
    "whole": (0, 0, 64, 48),
    "nothing": (0, 0, 0, 0),
}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def started(width=4, dilations=(2, 4), layout="own"):
    network = ContextualAttentionNet(width, dilations, layout)
    start(network, seeded())
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.uniform_(parameter, -0.1, 0.1, generator=seeded(len(name)))
    return network.eval()


def pictures(n, height=HEIGHT, width=WIDTH, dtype=torch.float32):
    return torch.rand(n, 3, height, width, generator=seeded(1), dtype=dtype)


def holes(*boxes, height=HEIGHT, width=WIDTH, dtype=torch.float32):
    """One box a picture: (N, 1, H, W), 1 inside."""
    hole = torch.zeros(len(boxes), 1, height, width, dtype=dtype)
    for n, (x0, y0, x1, y1) in enumerate(boxes):
        hole[n, :, y0:y1, x0:x1] = 1
    return hole


def parameters(module):
    return sum(p.numel() for p in module.parameters())
