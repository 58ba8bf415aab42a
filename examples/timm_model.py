"""A network of timm by its name, fine-tuned with the meta step, and weights by their losses (Meta-Weight-Net).

    python examples/timm_model.py [NAME] [MODE]

Fused attention has no forward-mode derivative; networks that have it take mode "central".
"""

import sys

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clp_train import Bilevel

CLASSES, SIDE = 4, 64


def pictures(count: int) -> tuple[Tensor, Tensor]:
    """Return float32 (count, 3, SIDE, SIDE) of so many colours, and their labels."""
    label = torch.arange(count) % CLASSES
    colour = torch.linspace(0.2, 0.8, CLASSES)[label][:, None, None, None]
    return colour + 0.1 * torch.randn(count, 3, SIDE, SIDE), label


def weighted(logits: Tensor, y: Tensor, net: nn.Module) -> Tensor:
    """Return the mean of the losses, each by its weight, which the net makes of the loss itself."""
    losses = F.cross_entropy(logits, y, reduction="none")
    return (net(losses.detach()[:, None]).squeeze(1) * losses).mean()


def main(name: str = "resnet10t", mode: str = "forward", steps: int = 8) -> list[float]:
    """Train for a few steps, and return the meta losses."""
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=CLASSES)
    net = nn.Sequential(nn.Linear(1, 100), nn.ReLU(), nn.Linear(100, 1), nn.Sigmoid())
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3)
    bilevel, losses = Bilevel(network, optimiser, net, [pictures(16)], weighted, mode=mode), []
    for _ in range(steps):
        bilevel.step(*pictures(16))
        losses.append(bilevel.meta_loss.item())
    return losses


if __name__ == "__main__":
    print("meta losses:", " ".join(f"{loss:.3f}" for loss in main(*sys.argv[1:])))
