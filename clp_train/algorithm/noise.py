"""Noise that a network draws of itself, such as dropout: the same in every pass of a step.

A hypergradient compares passes over the same pictures at nearby weights. With other noise in each, what differs is the
noise: the gradient is wrong by orders of magnitude, and nothing says so.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

import torch

_noise: ContextVar[tuple[int, torch.device] | None] = ContextVar("noise", default=None)
"""The seed of the noise, and the device where it is drawn."""


@contextlib.contextmanager
def same_noise(seed: int, device: torch.device) -> Iterator[None]:
    """Within it, a network's first pass and each `virtual_pass` draw the same numbers; what was drawn before goes on
    after it. seed: of these numbers; device: where the network lies.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng([]))
        if draws_itself(device):
            stack.enter_context(torch.random.fork_rng([device], device_type=device.type))
        stack.callback(_noise.reset, _noise.set((seed, device)))
        replay_noise()
        yield


def replay_noise() -> None:
    """Begin the noise of a pass again, as it was at the start of `same_noise`; nothing outside of it."""
    noise = _noise.get()
    if noise is None:
        return
    seed, device = noise
    torch.default_generator.manual_seed(seed)
    if draws_itself(device):
        module = torch.get_device_module(device)
        numbered = getattr(module, "default_generators", None)  # a module's own manual_seed is of the current device
        (numbered[device.index] if numbered else module).manual_seed(seed)


def draws_itself(device: torch.device) -> bool:
    """Tell whether a device has random numbers of its own."""
    return device.type != "cpu" and hasattr(torch.get_device_module(device), "get_rng_state")
