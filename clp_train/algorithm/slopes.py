"""SLOPES: u' = d/de u(W + e v) at e = 0, the derivative of the logits along a direction v, exact or by differences.

A difference has two errors: curvature, which grows with the step, and rounding, which grows as the step shrinks. Kinks,
such as those of ReLU, need a small step; float32 needs a large one.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from clp_aug.contract.errors import SettingError
from clp_train.algorithm.passes import PassTaken, Read, logits_of, virtual_pass
from clp_train.algorithm.precision import true_float32
from clp_train.algorithm.virtual_step import Weights

SMALLEST_NORM = 1e-3
CENTRAL_STEP = 5e-6  # of the norm of the weights
ONE_SIDED_STEP = 2e-5  # of the same norm; measured: its error then equals that of the central one

dual: Callable[[Tensor, Tensor], Tensor] = forward_ad.make_dual
unpack: Callable[[Tensor], Any] = forward_ad.unpack_dual


def forward_slope(
    network: nn.Module, weights: Weights, direction: Sequence[Tensor], x: Tensor, read: Read = logits_of
) -> Tensor:
    """Return u', (n, C), by one forward-mode pass. direction: v, in the weights' order."""
    with torch.no_grad(), true_float32(x.device), forward_ad.dual_level(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's own first use of torch.jit
        duals = {n: dual(w, v) for (n, w), v in zip(weights.items(), direction, strict=True)}
        slope: Tensor | None = unpack(read(virtual_pass(network, duals, x))).tangent
    return x.new_zeros(()) if slope is None else slope


def central_slope(
    network: nn.Module, weights: Weights, direction: Sequence[Tensor], x: Tensor, read: Read = logits_of
) -> Tensor:
    """Return u' by the central difference of two plain passes, in true float32. Its error falls as the square of the
    step.

    Raises SettingError for a type whose rounding is larger than the step.
    """
    check_rounding("central", CENTRAL_STEP, x.dtype)
    step = step_along(weights, direction, CENTRAL_STEP)
    with torch.no_grad(), true_float32(x.device):
        ends = [virtual_pass(network, moved(weights, direction, sign * step), x) for sign in (1, -1)]
        return (read(ends[0]) - read(ends[1])) / (2 * step)


def one_sided_slope(
    network: nn.Module,
    weights: Weights,
    direction: Sequence[Tensor],
    x: Tensor,
    read: Read = logits_of,
    here: Tensor | None = None,
    taken: PassTaken | None = None,
) -> Tensor:
    """Return u' by the difference of a plain pass at W + step and one at W, in true float32. Its error falls as the
    step.

    here: u at W, (n, C), from a pass that was already made as `taken` records, so that this one is made the same way;
    None: a second plain pass computes it. Raises SettingError as `central_slope` does.
    """
    check_rounding("one-sided", ONE_SIDED_STEP, x.dtype)
    step = step_along(weights, direction, ONE_SIDED_STEP)
    within, buffers = (nullcontext, None) if taken is None else (taken.within, taken.buffers)
    with torch.no_grad(), true_float32(x.device), within():
        beyond = read(virtual_pass(network, moved(weights, direction, step), x, buffers))
        start = read(virtual_pass(network, weights, x)) if here is None or taken is None else here.detach()
        return (beyond - start) / step


def check_rounding(mode: str, step: float, dtype: torch.dtype) -> None:
    """Raise SettingError for a type whose rounding is larger than a difference's step."""
    if torch.finfo(dtype).eps > step:
        raise SettingError(
            "hypergradient", mode, f"{dtype} rounds by more than the step of a difference", {"hypergradient": "forward"}
        )


def step_along(weights: Weights, direction: Sequence[Tensor], share: float) -> Tensor:
    """Return the scalar e for which the norm of e v is `share` of the weights' norm; weights and v may be all zero."""
    size = norm_of(weights.values()).clamp(min=SMALLEST_NORM)
    return share * size / norm_of(direction).clamp(min=1e-30)


def moved(weights: Weights, direction: Sequence[Tensor], step: Tensor) -> dict[str, Tensor]:
    """Return W + step v, by name."""
    return {n: w + step * v for (n, w), v in zip(weights.items(), direction, strict=True)}


def norm_of(tensors: Iterable[Tensor]) -> Tensor:
    """Return the Euclidean norm of all numbers together, a scalar."""
    squares = [values.square().sum() for values in tensors]
    return torch.sqrt(sum(squares[1:], squares[0]))


SLOPES = {"forward": forward_slope, "central": central_slope, "one-sided": one_sided_slope}
DIFFERENCES = ("central", "one-sided")


def slope_of(
    mode: str,
    network: nn.Module,
    weights: Weights,
    direction: Sequence[Tensor],
    x: Tensor,
    read: Read,
    here: Tensor,
    taken: PassTaken | None,
) -> Tensor:
    """Return u' by a mode of SLOPES. here, taken: as in `one_sided_slope`; only that mode uses them."""
    if mode == "one-sided":
        return one_sided_slope(network, weights, direction, x, read, here, taken)
    return SLOPES[mode](network, weights, direction, x, read)
