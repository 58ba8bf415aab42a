"""Noise that a network draws of itself, such as dropout: the same in every pass of a step.

A hypergradient compares passes over the same pictures at nearby weights. With other noise in each, what differs is the
noise: the gradient is wrong by orders of magnitude, and nothing says so.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

import torch

_seed: ContextVar[int | None] = ContextVar("seed", default=None)


@contextlib.contextmanager
def same_noise(seed: int, device: torch.device) -> Iterator[None]:
    """Within it, a network's first pass and each `virtual_pass` draw the same numbers; what was drawn before goes on
    after it. seed: of these numbers; device: where the network lies.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng([]))
        if hasattr(torch.get_device_module(device), "get_rng_state") and device.type != "cpu":
            stack.enter_context(torch.random.fork_rng([device], device_type=device.type))
        stack.callback(_seed.reset, _seed.set(seed))
        torch.manual_seed(seed)
        yield


def replay_noise() -> None:
    """Begin the noise of a pass again, as it was at the start of `same_noise`; nothing outside of it."""
    seed = _seed.get()
    if seed is not None:
        torch.manual_seed(seed)
