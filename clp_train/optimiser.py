"""SGD over body and head: step sizes, their schedule, and what momentum and decay add to the virtual step."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from clp_train.config import TrainConfig
from clp_train.hypergradient import Weights
from clp_train.models.parts import heads

LR_DROP = 0.1


def build_optimiser(network: nn.Module, config: TrainConfig, rate: float = 1.0) -> torch.optim.SGD:
    """Return SGD with momentum over what learns of body and head, each with its step size at the start of the stage.

    rate: of the stage, what the run's step sizes are multiplied by.
    """
    head = [w for last in heads(network) for w in last.parameters()]
    body = [w for w in network.parameters() if not any(w is own for own in head)]
    parts = ((body, rate * config.lr), (head, rate * (config.head_lr or config.lr)))
    groups = [{"params": [w for w in part if w.requires_grad], "lr": lr, "start": lr} for part, lr in parts]
    groups = [group for group in groups if group["params"]]
    return torch.optim.SGD(groups, config.lr, config.momentum, weight_decay=config.weight_decay)


def take_up(momentum: dict[str, Tensor], network: nn.Module, optimiser: torch.optim.SGD) -> None:
    """Give an optimiser the momentum of a checkpoint, by the names of the network's parameters."""
    for name, w in network.named_parameters():
        if name in momentum:
            optimiser.state[w]["momentum_buffer"] = momentum[name]


def set_rates(optimiser: torch.optim.SGD, factor: float) -> None:
    """Set every step size to a multiple of its start."""
    for group in optimiser.param_groups:
        group["lr"] = factor * group["start"]


def rate_factor(config: TrainConfig, epoch: int, epochs: int) -> float:
    """Return what the step sizes are multiplied by in an epoch (from 0) of a stage with so many."""
    if config.schedule == "constant":
        return 1.0
    if config.schedule == "cosine":
        return (1 + math.cos(math.pi * epoch / epochs)) / 2
    return LR_DROP ** sum(epoch >= share * epochs for share in (config.first_drop, config.second_drop))


def step_sizes(weights: Weights, optimiser: torch.optim.SGD) -> list[float]:
    """Return the step size of each weight."""
    of = {w: group["lr"] for group in optimiser.param_groups for w in group["params"]}
    return [of[w] for w in weights.values()]


def drift(weights: Weights, optimiser: torch.optim.SGD, config: TrainConfig) -> list[Tensor] | None:
    """Return what weight decay and momentum add to the virtual step, with `virtual_momentum`; else None, eq. (8)."""
    if not config.virtual_momentum:
        return None
    group = optimiser.param_groups[0]
    parts = [group["weight_decay"] * w.detach() for w in weights.values()]
    buffers = [optimiser.state.get(w, {}).get("momentum_buffer") for w in weights.values()]
    return [p if b is None else p + group["momentum"] * b for p, b in zip(parts, buffers, strict=True)]
