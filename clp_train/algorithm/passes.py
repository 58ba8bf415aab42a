"""Passes of a network at weights other than its own, without changing it, and functions that read its output."""

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
    """A network's output. features: (n, A), the head's input; logits: (n, C)."""

    @property
    def features(self) -> Tensor: ...

    @property
    def logits(self) -> Tensor: ...


def virtual_pass(network: nn.Module, weights: Weights, x: Tensor, buffers: Mapping[str, Tensor] | None = None) -> Any:
    """Return network(x) at other weights; its own weights and batch norm statistics do not change.

    weights: by name; the network's own are used for missing names; buffers: start values, None for the network's
    present buffers. Inside `same_noise` the network's noise is that of the first pass.
    """
    replay_noise()
    kept = copies(dict(network.named_buffers()) if buffers is None else buffers)
    return functional_call(network, {**weights, **kept}, (x,))


def copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies of tensors, by name."""
    return {name: value.clone() for name, value in tensors.items()}


def logits_of(out: HasLogits) -> Tensor:
    """Return the logits of a network's output: u if Omega acts on the logits."""
    return out.logits


def features_of(out: HasLogits) -> Tensor:
    """Return the features of a network's output: u if Omega acts on the features."""
    return out.features


Read = Callable[[HasLogits], Tensor]
"""Output of a network -> u."""


@dataclass(frozen=True)
class PassTaken:
    """How a network's pass at its own weights was made, so that other passes can be made in exactly the same way.

    buffers: copies of the network's buffers before the pass; within: makes the context of the pass, such as
    `second_order`, which may change the last bit of values.
    """

    buffers: Mapping[str, Tensor]
    within: Callable[[], AbstractContextManager[Any]] = nullcontext


def pass_taken(network: nn.Module, within: Callable[[], AbstractContextManager[Any]] = nullcontext) -> PassTaken | None:
    """Return, before a network's pass, the record that a difference needs; None if the pass rounds to fewer bits.

    None for a compiled network, too: its passes with and without a graph differ.
    """
    device = next(network.parameters()).device
    compiled = any(module._compiled_call_impl is not None for module in network.modules())
    return None if compiled or rounds(network, device) else PassTaken(copies(dict(network.named_buffers())), within)
