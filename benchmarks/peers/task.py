"""The task that all of `peers_speed.py` solve: a ResNet-32, a net that weighs losses, pictures, and one step of each.

Meta-Weight-Net (Shu et al. 2019): the weight of a picture's loss is a function of the loss, a net of one hidden layer.
The net goes down the gradient of the meta loss at W - rate * dL/dW, exactly through that step of SGD; then the network
takes the step with the new weights. Plain torch alone, so that every peer's environment can import it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CLASSES, SIDE, HIDDEN = 10, 32, 100
RATE, META_RATE = 0.1, 1e-3
BATCHES = 8  # other batches than these are not seen; they come in turn
WIDTHS, BLOCKS = (16, 32, 64), 5


class Block(nn.Module):
    """Two 3 x 3 convolutions with a parameter-free shortcut (option A of He et al. 2016)."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self.stride, self.new_planes = width // before, width - before
        self.conv1 = nn.Conv2d(before, width, 3, self.stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.new_planes:
            half = self.new_planes // 2
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, half))
        return F.relu(x + y)


class ResNet(nn.Module):
    """ResNet-32 for pictures of 32 pixels: float (n, 3, 32, 32) -> logits (n, CLASSES)."""

    def __init__(self, blocks: int = BLOCKS) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTHS[0], 3, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(WIDTHS[0])
        before = (WIDTHS[0], *WIDTHS[:-1])
        self.groups = nn.Sequential(
            *(Block(b if i == 0 else w, w) for b, w in zip(before, WIDTHS) for i in range(blocks))  # noqa: B905
        )
        self.head = nn.Linear(WIDTHS[-1], CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.groups(F.relu(self.bn(self.stem(x))))
        return self.head(x.mean((2, 3)))


class WeightNet(nn.Module):
    """Meta-Weight-Net's net: losses (n, 1) -> their weights in (0, 1), (n, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(1, HIDDEN), nn.Linear(HIDDEN, 1)

    def forward(self, losses: Tensor) -> Tensor:
        return torch.sigmoid(self.second(F.relu(self.first(losses))))


class FirstNoted(torch.optim.Adam):
    """Adam that keeps the gradients of its first step in `first`: what every peer is compared by."""

    first: list[Tensor] | None = None

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        if self.first is None:
            self.first = [w.grad.detach().clone() for group in self.param_groups for w in group["params"]]
        super().step()


class Task:
    """Network, weight net and batches, the same for the same arguments in every environment.

    pictures: of a training batch, and of a meta batch; blocks: of each of the network's three groups, 5 for a
    ResNet-32; dtype: of all of it; rate: the network's learning rate. network and net are in training mode. `train` and
    `meta` are lists of batches (x, y): x (pictures, 3, 32, 32) with deviation 1 around the classes' tones, y int64
    (pictures,).
    """

    def __init__(
        self, pictures: int, blocks: int = BLOCKS, dtype: torch.dtype = torch.float32, rate: float = RATE
    ) -> None:
        self.rate = rate
        draw = torch.Generator().manual_seed(0)
        self.network, self.net = ResNet(blocks).train(), WeightNet().train()
        start(self.network, draw)
        start(self.net, draw)
        self.train = [batch_of(pictures, draw, dtype) for _ in range(BATCHES)]
        self.meta = [batch_of(pictures, draw, dtype) for _ in range(BATCHES)]
        self.network.to(dtype)
        self.net.to(dtype)

    def sgd(self) -> torch.optim.SGD:
        """Return the network's optimiser: plain SGD, so that its step and the virtual one are the same."""
        return torch.optim.SGD(self.network.parameters(), self.rate)

    def adam(self) -> FirstNoted:
        """Return the weight net's optimiser."""
        return FirstNoted(self.net.parameters(), META_RATE)


class Turns:
    """Gives the next few of some batches, again and again."""

    def __init__(self, batches: list[tuple[Tensor, Tensor]]) -> None:
        self.batches = cycle(batches)

    def __call__(self, count: int = 1) -> list[tuple[Tensor, Tensor]]:
        """Return the next batches."""
        return list(islice(self.batches, count))


def start(module: nn.Module, draw: torch.Generator) -> None:
    """Draw the weights of all convolutions and linear layers anew, as He et al. do; biases are 0."""
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            fan = layer.weight[0].numel()
            with torch.no_grad():
                layer.weight.copy_(torch.randn(layer.weight.shape, generator=draw) * (2 / fan) ** 0.5)
                if layer.bias is not None:
                    layer.bias.zero_()


def batch_of(pictures: int, draw: torch.Generator, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return a batch of made pictures whose classes are in their colours, three labels in ten at random."""
    y = torch.randint(CLASSES, (pictures,), generator=draw)
    tone = (y[:, None] * torch.tensor([1, 3, 7]) % CLASSES) / CLASSES - 0.5
    x = torch.randn(pictures, 3, SIDE, SIDE, generator=draw) + tone[:, :, None, None]
    wrong = torch.rand(pictures, generator=draw) < 0.3
    y = torch.where(wrong, torch.randint(CLASSES, (pictures,), generator=draw), y)
    return x.to(dtype), y


def weighted(logits: Tensor, y: Tensor, net: nn.Module) -> Tensor:
    """Return the training loss: the mean of the losses times their weights, which take the losses as given."""
    losses = F.cross_entropy(logits, y, reduction="none")[:, None]
    return (net(losses.detach()) * losses).mean()


@contextmanager
def held(net: nn.Module) -> Iterator[None]:
    """Within it nothing gets a graph to a net's weights."""
    net.requires_grad_(False)
    try:
        yield
    finally:
        net.requires_grad_(True)


def final_step(network: nn.Module, net: nn.Module, sgd: torch.optim.SGD, x: Tensor, y: Tensor) -> None:
    """Take the network's own step with the weight net as it is now."""
    with held(net):
        loss = weighted(network(x), y, net)
    sgd.zero_grad()
    loss.backward()
    sgd.step()
