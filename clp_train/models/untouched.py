"""Evaluate a network during training without side effects: mode restored, buffers copied, no gradients left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from clp_train.ranks.splitting import whole_passes


@contextmanager
def untouched(network: nn.Module, training: bool = False) -> Iterator[Callable[[Tensor], Any]]:
    """Yield a function x -> network(x), computed in evaluation or training mode with gradients only to x.

    Parameters get no gradient, buffers are copies, and every module returns to its own mode at the end, also after an
    error. Works under torch.no_grad too. Each rank of a run passes all of x through the network.
    """
    modes, place = {module: module.training for module in network.modules()}, next(network.parameters()).device
    state = {name: value.detach() for name, value in network.named_parameters()}
    state |= {name: value.clone() for name, value in network.named_buffers()}
    network.train(training)
    try:
        with torch.enable_grad(), whole_passes(network):
            yield lambda x: functional_call(network, state, (x.to(place),))
    finally:
        for module, mode in modes.items():
            module.training = mode
