"""The optimiser of body and head, SGD or AdamW: learning rates, their schedule, its state, and its virtual step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from clp_train.algorithm.quick_optimisers import SGD, AdamW
from clp_train.algorithm.settings import SgdSettings
from clp_train.algorithm.virtual_step import Moves, Weights, moves_of, sgd_moves

LR_DROP = 0.1
KEPT = {"momentum": "momentum_buffer", "exp_avg": "exp_avg", "exp_avg_sq": "exp_avg_sq", "adam_step": "step"}
"""Name of each part of an optimiser's state in a checkpoint -> torch's name."""


def build_optimiser(
    network: nn.Module, heads: Sequence[nn.Module], settings: SgdSettings, rate: float = 1.0
) -> torch.optim.Optimizer:
    """Return SGD or AdamW over the trainable weights of body and head, with their learning rates at the stage's start.

    heads: the network's last layers, one per peer; rate: the stage's factor of the run's learning rates.
    """
    head = [w for last in heads for w in last.parameters()]
    body = [w for w in network.parameters() if not any(w is other for other in head)]
    parts = ((body, rate * settings.lr), (head, rate * (settings.head_lr or settings.lr)))
    groups = [{"params": [w for w in part if w.requires_grad], "lr": lr, "start": lr} for part, lr in parts]
    groups = [group for group in groups if group["params"]]
    if settings.optimiser == "adamw":
        return AdamW(groups, settings.lr, weight_decay=settings.weight_decay)
    return SGD(groups, settings.lr, settings.momentum, weight_decay=settings.weight_decay)


def optimiser_state(network: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the state of an optimiser by part and parameter of the network, such as "momentum.head.bias"."""
    return {
        f"{part}.{name}": optimiser.state[w][slot]
        for part, slot in KEPT.items()
        for name, w in network.named_parameters()
        if optimiser.state.get(w, {}).get(slot) is not None
    }


def expected_state(network: nn.Module) -> dict[str, Tensor]:
    """Return tensors of the shapes that an optimiser's state has, by part and parameter."""
    return {
        f"{part}.{name}": torch.zeros(()) if slot == "step" else w
        for part, slot in KEPT.items()
        for name, w in network.named_parameters()
    }


def restore_optimiser(state: Mapping[str, Tensor], network: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """Load a state that `optimiser_state` returned, with the memory layout of the weights.

    With another layout, kernels round differently, and a resumed run would not be bit-identical.
    """
    for name, w in network.named_parameters():
        for part, slot in KEPT.items():
            value = state.get(f"{part}.{name}")
            if value is not None:
                like = value if slot == "step" else w.detach()
                optimiser.state[w][slot] = torch.empty_like(like).copy_(value)


def set_rates(optimiser: torch.optim.Optimizer, factor: float) -> None:
    """Set every learning rate to `factor` times its start value."""
    for group in optimiser.param_groups:
        group["lr"] = factor * group["start"]


def rate_factor(settings: SgdSettings, epoch: int, epochs: int) -> float:
    """Return the factor of the learning rates in an epoch (from 0) of a stage with `epochs` epochs."""
    warmth = min(1.0, (epoch + 1) / (settings.warmup_epochs + 1))
    if settings.schedule == "constant":
        return warmth
    if settings.schedule == "cosine":
        return warmth * (1 + math.cos(math.pi * epoch / epochs)) / 2
    return warmth * LR_DROP ** sum(epoch >= share * epochs for share in (settings.first_drop, settings.second_drop))


def learning_rates(weights: Weights, optimiser: torch.optim.Optimizer) -> list[float]:
    """Return the learning rate of each weight."""
    rates = {w: group["lr"] for group in optimiser.param_groups for w in group["params"]}
    return [rates[w] for w in weights.values()]


def drift(weights: Weights, optimiser: torch.optim.Optimizer) -> list[Tensor]:
    """Return the sum of weight decay and momentum that the next step of SGD adds to each weight's gradient."""
    group = optimiser.param_groups[0]
    decays = [group["weight_decay"] * w.detach() for w in weights.values()]
    buffers = [optimiser.state.get(w, {}).get("momentum_buffer") for w in weights.values()]
    return [d if b is None else d + group["momentum"] * b for d, b in zip(decays, buffers, strict=True)]


def virtual_moves(weights: Weights, optimiser: torch.optim.Optimizer, momentum: bool) -> Moves:
    """Return the virtual step: for Adam its exact step; for SGD eq. (8), with momentum and weight decay on request."""
    if not isinstance(optimiser, torch.optim.SGD):
        return moves_of(optimiser)
    return sgd_moves(learning_rates(weights, optimiser), drift(weights, optimiser) if momentum else None)


def apply_gradients(optimiser: torch.optim.Optimizer, weights: Weights, gradients: Sequence[Tensor]) -> None:
    """Move the weights by one step of the optimiser along their gradients, tensor by tensor."""
    for w, gradient in zip(weights.values(), gradients, strict=True):
        w.grad = gradient
    optimiser.step()
