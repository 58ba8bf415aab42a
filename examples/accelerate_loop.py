"""The meta step in a loop of accelerate, in float32 or bf16: one process.

python examples/accelerate_loop.py [no | bf16]
"""

import sys

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from clp_train import Bilevel, Omega

CLASSES = 3


def loader_of(count: int, seed: int, batch_size: int) -> DataLoader:
    """Return pictures whose brightness tells their class."""
    draw = torch.Generator().manual_seed(seed)
    label = torch.arange(count) % CLASSES
    x = 0.3 * label[:, None, None, None] + 0.2 * torch.randn(count, 3, 8, 8, generator=draw)
    return DataLoader(TensorDataset(x, label), batch_size, shuffle=True)


def main(precision: str = "no", epochs: int = 3) -> float:
    """Train, and return the last meta loss."""
    set_seed(0)
    accelerator = Accelerator(mixed_precision=precision, cpu=True)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.1), nn.Linear(288, CLASSES))
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3)
    omega = Omega(torch.full((CLASSES,), 100.0)).to(accelerator.device)
    network, optimiser, loader, meta = accelerator.prepare(
        network, optimiser, loader_of(300, 0, 30), loader_of(60, 1, 30)
    )
    bilevel = Bilevel(network, optimiser, omega, meta)
    for _ in range(epochs):
        for x, y in loader:
            loss = bilevel.loss(x, y)
            optimiser.zero_grad()
            accelerator.backward(loss)
            optimiser.step()
    return bilevel.meta_loss.item()


if __name__ == "__main__":
    print(f"meta loss after training: {main(*sys.argv[1:2]):.3f}")
