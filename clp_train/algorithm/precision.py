"""Precision: the type that a network's passes compute in, and what is always computed in float32.

A network may compute in bfloat16; its last layer and everything after it compute in float32. Passes for a difference of
two passes, and for an export, compute in float32: a difference already loses half of the digits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn

from clp_aug.common.rounding import convolutions, products, rounded, unrounded

_exact: ContextVar[bool] = ContextVar("exact", default=False)


@contextlib.contextmanager
def true_float32(device: torch.device) -> Iterator[None]:
    """Inside this context, networks on a device compute in the type of their weights, whatever the run's precision."""
    token = _exact.set(True)
    try:
        with unrounded(), torch.autocast(device.type, enabled=False):
            yield
    finally:
        _exact.reset(token)


@contextlib.contextmanager
def precision_of_run(precision: str) -> Iterator[None]:
    """Inside this context, only convolutions may round float32, in backward passes too, and only for "tf32".

    Matrix products are rounded only in a network's own passes, see `compute_in`; those of losses and of Omega never
    are.
    """
    with rounded(products(), False), rounded(convolutions(), precision == "tf32"):
        yield


def compute_in(network: nn.Module, heads: Sequence[nn.Linear], precision: str) -> None:
    """Let a network's passes compute in "tf32" or "bf16" from now on, its last layers and its output in float32.

    The weights keep their type; inside `true_float32` nothing changes.
    """
    Passes(precision).hook(network)
    for head in heads:
        Passes("float32").hook(head)


class Passes:
    """Enters a precision before a module's pass and leaves it after."""

    def __init__(self, precision: str) -> None:
        self.precision = precision
        self.open: list[contextlib.ExitStack] = []

    def hook(self, module: nn.Module) -> None:
        """Hook into every later pass of a module."""
        module.register_forward_pre_hook(self.before)
        module.register_forward_hook(self.after, always_call=True)

    def before(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Enter the precision; return the module's inputs."""
        opened = contextlib.ExitStack()
        if not _exact.get():
            low = self.precision == "bf16"
            opened.enter_context(rounded(products(), self.precision == "tf32"))
            opened.enter_context(torch.autocast(inputs[0].device.type, torch.bfloat16 if low else None, enabled=low))
        self.open.append(opened)
        return tuple(in_float32(x) for x in inputs) if self.precision == "float32" else inputs

    def after(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> Any:
        """Leave the precision, also after an error; return the output in float32."""
        self.open.pop().close()
        return in_float32(output)


def rounds(network: nn.Module, device: torch.device) -> bool:
    """Return whether a network's pass on a device now rounds to fewer bits than inside `true_float32`."""
    hooks = [getattr(hook, "__self__", None) for hook in network._forward_pre_hooks.values()]
    if any(isinstance(passes, Passes) and passes.precision != "float32" for passes in hooks):
        return True
    places = () if device.type == "cpu" else (*products(), *convolutions())
    return torch.is_autocast_enabled(device.type) or any(place.fp32_precision != "ieee" for place in places)


def in_float32(values: Any) -> Any:
    """Return tensors of fewer bits as float32, also inside tuples; everything else is unchanged."""
    if isinstance(values, Tensor):
        return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values
    if isinstance(values, tuple):  # an Output
        parts = [in_float32(part) for part in values]
        return type(values)(*parts) if hasattr(values, "_fields") else tuple(parts)
    return values
