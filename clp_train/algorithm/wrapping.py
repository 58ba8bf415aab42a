"""Networks and optimisers that a framework has wrapped: what lies within, and what cannot be seen through."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from clp_aug.contract.errors import SettingError
from clp_train.algorithm.slopes import DIFFERENCES
from clp_train.ranks.team import Ranks


def plain_network(network: nn.Module, mode: str) -> nn.Module:
    """Return the module within DataParallel or DistributedDataParallel, for passes at other weights.

    Raises SettingError for a compiled module, for one spread over several devices, and for a difference
    through passes that round by themselves, whatever the surroundings say.
    """
    if hasattr(network, "_orig_mod"):
        reason = "it is compiled; expected the module as it was before torch.compile"
        raise SettingError("network", type(network).__name__, reason)
    if len(getattr(network, "device_ids", None) or ()) > 1:
        raise SettingError("network", type(network).__name__, "it is spread over devices; expected it on one")
    is_wrapped = isinstance(network, (nn.DataParallel, nn.parallel.DistributedDataParallel))
    core: nn.Module = network.get_submodule("module") if is_wrapped else network
    if mode in DIFFERENCES and hasattr(core, "_original_forward"):  # accelerate's mixed precision
        reason = "the network rounds within its own pass, and a difference of two would drown in that"
        raise SettingError("mode", mode, reason, {"mode": "forward"})
    return core


def plain_optimiser(optimiser: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Return the optimiser of torch within one of accelerate's or Lightning's."""
    inner = getattr(optimiser, "optimizer", None)
    return plain_optimiser(inner) if isinstance(inner, torch.optim.Optimizer) else optimiser


def average_over_processes(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return the mean of each tensor over the processes of torch.distributed that train together; alone, the same."""
    distributed = torch.distributed
    if not distributed.is_available() or not distributed.is_initialized():
        return tuple(tensors)
    return Ranks(size=distributed.get_world_size()).average(tensors)
