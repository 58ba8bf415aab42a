"""SGD over body and head: learning rates, their schedule, and what momentum and decay add to the virtual step."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from clp_train.algorithm.hypergradient import Weights
from clp_train.algorithm.settings import SgdSettings

LR_DROP = 0.1


def build_optimiser(
    network: nn.Module, heads: Sequence[nn.Module], settings: SgdSettings, rate: float = 1.0
) -> torch.optim.SGD:
    """Return SGD with momentum over what learns of body and head, each with its learning rate at the stage's start.

    heads: the network's last layers, one or that of each peer; rate: of the stage, what the run's learning rates are
    multiplied by.
    """
    head = [w for last in heads for w in last.parameters()]
    body = [w for w in network.parameters() if not any(w is other for other in head)]
    parts = ((body, rate * settings.lr), (head, rate * (settings.head_lr or settings.lr)))
    groups = [{"params": [w for w in part if w.requires_grad], "lr": lr, "start": lr} for part, lr in parts]
    groups = [group for group in groups if group["params"]]
    return torch.optim.SGD(groups, settings.lr, settings.momentum, weight_decay=settings.weight_decay)


def restore_momentum(momentum: dict[str, Tensor], network: nn.Module, optimiser: torch.optim.SGD) -> None:
    """Give an optimiser the momentum of a checkpoint, by the names of the network's parameters."""
    for name, w in network.named_parameters():
        if name in momentum:
            optimiser.state[w]["momentum_buffer"] = momentum[name].to(w.device)


def set_rates(optimiser: torch.optim.SGD, factor: float) -> None:
    """Set every learning rate to a multiple of its start."""
    for group in optimiser.param_groups:
        group["lr"] = factor * group["start"]


def rate_factor(settings: SgdSettings, epoch: int, epochs: int) -> float:
    """Return what the learning rates are multiplied by in an epoch (from 0) of a stage with so many."""
    if settings.schedule == "constant":
        return 1.0
    if settings.schedule == "cosine":
        return (1 + math.cos(math.pi * epoch / epochs)) / 2
    return LR_DROP ** sum(epoch >= share * epochs for share in (settings.first_drop, settings.second_drop))


def learning_rates(weights: Weights, optimiser: torch.optim.SGD) -> list[float]:
    """Return the learning rate of each weight."""
    rates = {w: group["lr"] for group in optimiser.param_groups for w in group["params"]}
    return [rates[w] for w in weights.values()]


def drift(weights: Weights, optimiser: torch.optim.SGD) -> list[Tensor]:
    """Return what weight decay and momentum add to each weight's gradient in the next step of SGD."""
    group = optimiser.param_groups[0]
    decays = [group["weight_decay"] * w.detach() for w in weights.values()]
    buffers = [optimiser.state.get(w, {}).get("momentum_buffer") for w in weights.values()]
    return [d if b is None else d + group["momentum"] * b for d, b in zip(decays, buffers, strict=True)]


def apply_gradients(optimiser: torch.optim.SGD, weights: Weights, gradients: Sequence[Tensor]) -> None:
    """Move the weights by one step of SGD along their gradients, tensor by tensor."""
    for w, gradient in zip(weights.values(), gradients, strict=True):
        w.grad = gradient
    optimiser.step()
