"""A network's own noise, such as dropout: the same in every pass of a step.

A hypergradient compares passes over the same pictures at nearby weights. If each pass had different noise, the
difference would be mostly noise: the gradient would be wrong by orders of magnitude, without any warning.
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
    """Inside this context, a network's first pass and each `virtual_pass` draw the same random numbers. The outer
    random stream continues afterwards. seed: of these numbers; device: of the network.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng([]))
        if draws_itself(device):
            stack.enter_context(torch.random.fork_rng([device], device_type=device.type))
        stack.callback(_noise.reset, _noise.set((seed, device)))
        replay_noise()
        yield


def replay_noise() -> None:
    """Restart the noise of a pass, as at the start of `same_noise`. Outside of `same_noise` this does nothing."""
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
    """Return whether a device has a random number generator of its own, besides the CPU's."""
    return device.type != "cpu" and hasattr(torch.get_device_module(device), "get_rng_state")
