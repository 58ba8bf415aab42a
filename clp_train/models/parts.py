"""What all classifiers share: their output, input normalisation, start values, frozen batch norm, the last block."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class Output(NamedTuple):
    """What a classifier returns. features: (N, A), the head's input; logits: (N, C); other: of its peer, if any."""

    features: Tensor
    logits: Tensor
    other: Output | None = None


ALL, ALL_BUT_HEAD = "all of it", "all but its last layer"
"""What a classifier takes of weights, in words."""


class StartWeights(NamedTuple):
    """Weights that a classifier starts from. file: its path; sha256: of its bytes; taken: what of it, in words."""

    file: str
    sha256: str
    taken: str


class Classifier(nn.Module):
    """What all classifiers are: float32 (N, 3, H, W) in [0, 1] -> Output.

    head: the last layer; tail: how the names of the last block's parameters begin, the head's among them;
    start_weights: those of the user's that it starts from, None for none.
    """

    head: nn.Linear
    tail: tuple[str, ...]
    start_weights: StartWeights | None = None

    if TYPE_CHECKING:

        def __call__(self, x: Tensor) -> Output: ...


class Normalise(nn.Module):
    """Float (N, 3, H, W) in [0, 1] minus each channel's mean, over its standard deviation."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


def start_linear(linear: nn.Linear, generator: torch.Generator) -> None:
    """Start weight and bias uniformly in +-1 / sqrt(inputs), torch's own way, only from `generator`."""
    bound = 1 / math.sqrt(linear.in_features)
    for values in (linear.weight, linear.bias):
        if values is not None:
            drawn = torch.empty(values.shape, dtype=values.dtype).uniform_(-bound, bound, generator=generator)
            values.data.copy_(drawn)  # the generator is that of the CPU, wherever the layer lies


class Peers(Classifier):
    """Two classifiers that learn from the same pictures, each from its own start; judged by the first."""

    def __init__(self, first: Classifier, second: Classifier) -> None:
        super().__init__()
        self.nets = nn.ModuleList([first, second])
        self.tail = tuple(f"nets.{i}.{name}" for i, net in enumerate((first, second)) for name in net.tail)

    @property
    def first(self) -> Classifier:
        """The one that pictures are judged by."""
        return cast(Classifier, self.nets[0])

    @property
    def head(self) -> nn.Linear:  # type: ignore[override]  # an attribute would be a second name of its weights
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
    """Return where a network lies."""
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
    """Return a kind of batch norm that stays in evaluation mode; what else it does, an activation perhaps, it keeps."""
    if kind is nn.BatchNorm2d or issubclass(kind, FrozenBatchNorm2d):
        return FrozenBatchNorm2d

    def train(self: nn.Module, mode: bool = True) -> nn.Module:
        return kind.train(self, False)

    return type(f"Frozen{kind.__name__}", (kind,), {"train": train})


def frozen_batch_norm(network: Classifier) -> Classifier:
    """Keep a network's batch norms in evaluation mode for good, in place, and return it.

    For pretrained networks on small batches: no picture's output depends on the others of its batch.
    """
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            kind: Any = type(module)
            module.__class__ = frozen(kind)  # the same tensors under the same names, whoever holds them
            module.eval()
    return network


def last_block(network: Classifier) -> tuple[str, ...]:
    """Return the names of the parameters of a classifier's last block and its head, in the network's order."""
    return tuple(name for name, _ in network.named_parameters() if name.startswith(network.tail))
