"""Passes of a network at other weights than its own, which leave it as it is, and what is read of its output."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn
from torch.func import functional_call

from clp_train.algorithm.noise import replay_noise
from clp_train.algorithm.precision import rounds
from clp_train.algorithm.virtual_step import Weights


class HasLogits(Protocol):
    """What a network returns. features: (n, A), the head's input; logits: (n, C)."""

    @property
    def features(self) -> Tensor: ...

    @property
    def logits(self) -> Tensor: ...


def virtual_pass(network: nn.Module, weights: Weights, x: Tensor, buffers: Mapping[str, Tensor] | None = None) -> Any:
    """Return network(x) at other weights; its own weights and batch-norm statistics stay as they are.

    weights: by name; those that are not named are the network's own; buffers: those to start from, None for the
    network's own as they are. Within `same_noise` the network's own noise is that of the first pass.
    """
    replay_noise()
    kept = copies(dict(network.named_buffers()) if buffers is None else buffers)
    return functional_call(network, {**weights, **kept}, (x,))


def copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies of tensors, by name."""
    return {name: value.clone() for name, value in tensors.items()}


def logits_of(out: HasLogits) -> Tensor:
    """Read the logits of a network's output: u where Omega acts behind them."""
    return out.logits


def features_of(out: HasLogits) -> Tensor:
    """Read the features of a network's output: u where Omega acts on them."""
    return out.features


Read = Callable[[HasLogits], Tensor]
"""Output of a network -> u."""


@dataclass(frozen=True)
class PassTaken:
    """A pass of a network at its own weights, to be compared with others: they are taken as it was, number by number.

    buffers: copies of the network's as they were before it; within: makes what it was taken in, such as `second_order`,
    whose values may differ in the last bit.
    """

    buffers: Mapping[str, Tensor]
    within: Callable[[], AbstractContextManager[Any]] = nullcontext


def pass_taken(network: nn.Module, within: Callable[[], AbstractContextManager[Any]] = nullcontext) -> PassTaken | None:
    """Return, before a network's pass, what a difference needs to know of it; None where it rounds to fewer bits.

    A compiled pass is another one with a graph than without: None, too.
    """
    device = next(network.parameters()).device
    compiled = any(module._compiled_call_impl is not None for module in network.modules())
    return None if compiled or rounds(network, device) else PassTaken(copies(dict(network.named_buffers())), within)
