"""Parts that all classifiers share: output, input normalisation, initialisation, frozen batch norm, the last block."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class Output(NamedTuple):
    """A classifier's output. features: (N, A), the head's input; logits: (N, C); other: output of its peer, if any."""

    features: Tensor
    logits: Tensor
    other: Output | None = None


ALL, ALL_BUT_HEAD = "all of it", "all but its last layer"
"""Part of the weights that a classifier has loaded, in words."""


class StartWeights(NamedTuple):
    """Start weights of a classifier. file: its path; sha256: of its bytes; taken: the loaded part, in words."""

    file: str
    sha256: str
    taken: str


class Classifier(nn.Module):
    """Base class of classifiers: float32 (N, 3, H, W) in [0, 1] -> Output.

    head: the last layer; tail: name prefixes of the last block's parameters, including the head's; start_weights: the
    user's weights that it starts from, None for none.
    """

    head: nn.Linear
    tail: tuple[str, ...]
    start_weights: StartWeights | None = None

    if TYPE_CHECKING:

        def __call__(self, x: Tensor) -> Output: ...


class Normalise(nn.Module):
    """Float (N, 3, H, W) in [0, 1] minus each channel's mean, divided by its standard deviation."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


def start_linear(linear: nn.Linear, generator: torch.Generator) -> None:
    """Initialise weight and bias uniformly in +-1 / sqrt(inputs), as torch does, only from `generator`."""
    bound = 1 / math.sqrt(linear.in_features)
    for values in (linear.weight, linear.bias):
        if values is not None:
            drawn = torch.empty(values.shape, dtype=values.dtype).uniform_(-bound, bound, generator=generator)
            values.data.copy_(drawn)  # the generator is on the CPU, the layer on any device


class Peers(Classifier):
    """Two classifiers that learn from the same pictures, with different initial weights; the first one predicts."""

    def __init__(self, first: Classifier, second: Classifier) -> None:
        super().__init__()
        self.nets = nn.ModuleList([first, second])
        self.tail = tuple(f"nets.{i}.{name}" for i, net in enumerate((first, second)) for name in net.tail)

    @property
    def first(self) -> Classifier:
        """The classifier that predicts."""
        return cast(Classifier, self.nets[0])

    @property
    def head(self) -> nn.Linear:  # type: ignore[override]  # an attribute would add a second name for its weights
        """The last layer of the first."""
        return self.first.head

    @property
    def start_weights(self) -> StartWeights | None:  # type: ignore[override]  # as the head
        """The weights that the first starts from."""
        return self.first.start_weights

    def forward(self, x: Tensor) -> Output:
        first, second = (net(x) for net in self.nets)
        return Output(first.features, first.logits, second)


def device_of(network: nn.Module) -> torch.device:
    """Return the device of a network."""
    return next(network.parameters()).device


def heads(network: Classifier) -> list[nn.Linear]:
    """Return the last layer of a classifier, or those of both peers."""
    return [cast(Classifier, net).head for net in network.nets] if isinstance(network, Peers) else [network.head]


class FrozenBatchNorm2d(nn.BatchNorm2d):
    """Batch norm that uses its running statistics in training too; scale and shift still learn."""

    def train(self, mode: bool = True) -> FrozenBatchNorm2d:
        return super().train(False)


@cache
def frozen(kind: type[Any]) -> type[Any]:
    """Return a subclass of a batch norm that stays in evaluation mode; other behaviour, such as activation, is kept."""
    if kind is nn.BatchNorm2d or issubclass(kind, FrozenBatchNorm2d):
        return FrozenBatchNorm2d

    def train(self: nn.Module, mode: bool = True) -> nn.Module:
        return kind.train(self, False)

    return type(f"Frozen{kind.__name__}", (kind,), {"train": train})


def frozen_batch_norm(network: Classifier) -> Classifier:
    """Keep a network's batch norms in evaluation mode from now on, in place, and return the network.

    For pretrained networks on small batches: a picture's output does not depend on the rest of its batch.
    """
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            kind: Any = type(module)
            module.__class__ = frozen(kind)  # tensors and their names do not change
            module.eval()
    return network


def last_block(network: Classifier) -> tuple[str, ...]:
    """Return the names of the parameters of a classifier's last block and its head, in the network's order."""
    return tuple(name for name, _ in network.named_parameters() if name.startswith(network.tail))
