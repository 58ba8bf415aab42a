"""Networks and optimisers that a framework has wrapped: how to unwrap them, and which cannot be unwrapped."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from clp_aug.contract.errors import SettingError
from clp_train.algorithm.slopes import DIFFERENCES
from clp_train.ranks.team import Ranks


def plain_network(network: nn.Module, mode: str) -> nn.Module:
    """Return the module inside DataParallel or DistributedDataParallel, for passes at other weights.

    Raises SettingError for a compiled module, for one that is spread over several devices, and for a difference if the
    module always rounds its passes by itself.
    """
    if hasattr(network, "_orig_mod"):
        reason = "it is compiled; expected the module before torch.compile"
        raise SettingError("network", type(network).__name__, reason)
    if len(getattr(network, "device_ids", None) or ()) > 1:
        raise SettingError("network", type(network).__name__, "it is on several devices; expected it on one")
    is_wrapped = isinstance(network, (nn.DataParallel, nn.parallel.DistributedDataParallel))
    core: nn.Module = network.get_submodule("module") if is_wrapped else network
    if mode in DIFFERENCES and hasattr(core, "_original_forward"):  # accelerate's mixed precision
        reason = "the network rounds inside its own pass, and that rounding is larger than a difference of two passes"
        raise SettingError("mode", mode, reason, {"mode": "forward"})
    return core


def plain_optimiser(optimiser: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Return the torch optimiser inside a wrapper of accelerate or Lightning."""
    inner = getattr(optimiser, "optimizer", None)
    return plain_optimiser(inner) if isinstance(inner, torch.optim.Optimizer) else optimiser


def average_over_processes(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return the mean of each tensor over the processes of torch.distributed; in a single process, the tensors."""
    distributed = torch.distributed
    if not distributed.is_available() or not distributed.is_initialized():
        return tuple(tensors)
    return Ranks(size=distributed.get_world_size()).average(tensors)
