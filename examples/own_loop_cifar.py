"""An own CIFAR loop with AdamW: the meta step is one line. CIFAR's folder is read where it is, else a made set.

python examples/own_loop_cifar.py [FOLDER] [--quick]
"""

import sys

import torch
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset
from torchvision import datasets, transforms

from clp_train import Bilevel, Omega

CLASSES, META, WRONG = 10, 100, 0.4


def made(count: int) -> TensorDataset:
    """Return noisy pictures of ten colours."""
    label = torch.arange(count) % CLASSES
    colour = torch.rand(CLASSES, 3, generator=torch.Generator().manual_seed(0))
    return TensorDataset((colour[label][:, :, None, None] + 0.1 * torch.randn(count, 3, 32, 32)).clamp(0, 1), label)


class Mislabelled(Subset):
    """Rows of a data set, of whose labels a share is the next class."""

    def __getitems__(self, rows: list[int]) -> list[tuple[torch.Tensor, int]]:
        pairs = zip(rows, super().__getitems__(rows), strict=True)
        return [(x, int(y + (row // CLASSES % 10 < 10 * WRONG)) % CLASSES) for row, (x, y) in pairs]


def main(folder: str | None, quick: bool) -> float:
    """Train, and return the share of test pictures that are recognised."""
    torch.manual_seed(0)
    train, test = made(2000 if quick else 20000), made(500)
    if folder is not None:
        train, test = (datasets.CIFAR10(folder, is_train, transforms.ToTensor()) for is_train in (True, False))
    meta = DataLoader(Subset(train, range(META)), 50, shuffle=True)  # a few pictures whose labels are right
    noisy = Mislabelled(train, range(META, len(train)))
    body = nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU()
    )
    network = nn.Sequential(body, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.1), nn.Linear(128, CLASSES))
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3)
    bilevel = Bilevel(network, optimiser, Omega(torch.full((CLASSES,), len(noisy) / CLASSES)), meta)
    for epoch in range(2 if quick else 10):
        for x, y in DataLoader(noisy, 100, shuffle=True):
            loss = bilevel.step(x, y)
        print(f"epoch {epoch + 1}: loss {loss:.3f}, meta loss {bilevel.meta_loss:.3f}")
    network.eval()
    with torch.no_grad():
        right = torch.cat([network(x).argmax(1) == y for x, y in DataLoader(test, 500)])
    return right.float().mean().item()


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "--quick"]
    print(f"{main(words[0] if words else None, '--quick' in sys.argv):.1%} of the test pictures are right")
