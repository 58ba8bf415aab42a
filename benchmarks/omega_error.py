"""How wrong is Omega's gradient? That of one step in float32, beside the same step's in float64."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from clp_train.algorithm.characteristics import ClassStats
from clp_train.algorithm.step import StepRule, train_step
from clp_train.pictures.types import Batch


def omega_gradient(
    network: Any, method: Any, optimiser: Any, batch: Batch, meta: Batch, rule: StepRule, double: bool
) -> Tensor:
    """Return Omega's gradient of the step that would come next, (all numbers of Omega,), float64; nothing is changed.

    double: the step is taken in float64, its slope by forward mode or, where the rule has it, a double backward.
    """
    network, method, optimiser = copy.deepcopy((network, method, optimiser))
    if double:
        network.double()
        in_float64(method, optimiser)
        batch, meta = (replace(part, images=part.images.double()) for part in (batch, meta))
        exact = "reference" if rule.meta_step.meta_step == "exact" else "forward"
        rule = replace(rule, meta_step=replace(rule.meta_step, hypergradient=exact))
    found: list[Tensor] = []
    method.update = found.extend
    train_step(network, method, optimiser, batch, meta, rule, 0)
    return torch.cat([gradient.double().flatten() for gradient in found])


def in_float64(method: Any, optimiser: Any) -> None:
    """Turn what a method learns, what it knows of the classes and an optimiser's momentum into float64, in place."""
    method.network.double()
    if hasattr(method, "classes") and isinstance(method.classes, ClassStats):
        method.classes = ClassStats(*(part.double() for part in method.classes))
    for slots in optimiser.state.values():
        slots.update({name: value.double() for name, value in slots.items() if isinstance(value, Tensor)})


def error_of(found: Tensor, expected: Tensor) -> dict[str, float]:
    """Return the relative error of a gradient, and how much its cosine with the expected one falls short of 1."""
    cosine = torch.nn.functional.cosine_similarity(found, expected, dim=0)
    return {
        "relative_error": float(f"{float((found - expected).norm() / expected.norm()):.2e}"),
        "one_minus_cosine": float(f"{max(0.0, 1 - float(cosine)):.2e}"),
    }
