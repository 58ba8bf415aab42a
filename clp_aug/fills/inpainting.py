"""What the inpainting fills share: a hole needs something known beside it, and a network's picture becomes uint8."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from clp_aug.contract.boxes import Box
from clp_aug.contract.errors import InputError
from clp_aug.fills.scene import Materials, NoBackground, Scene, crop, trial_scene
from clp_aug.nets.threads import one_thread

if TYPE_CHECKING:
    from torch import Tensor


OUTSIDE = 0.5  # how far beyond [0, 1] a network without a last sigmoid may go before it is told to give something else


def hole(scene: Scene) -> np.ndarray:
    """Return the box as bool (H, W). Raises NoBackground when it covers the picture: nothing is known."""
    hidden = scene.causal()
    if hidden.all():
        raise NoBackground
    return hidden


def fill_by(
    network: Callable[[Tensor, Tensor], Tensor], scene: Scene, window: Box, what: str, remedy: str
) -> np.ndarray:
    """Return uint8 (h, w, 3): the window of what a network makes of the scene, on one thread.

    network: picture, float32 (1, 3, H, W) in [0, 1], and hole, float32 (1, 1, H, W), 1 = hidden -> picture; what it is
    and the remedy, in words. Raises NoBackground when the box covers the picture, InputError for NaN, infinity, and
    numbers that go far beyond [0, 1].
    """
    import torch

    hidden = torch.from_numpy(hole(scene)).float()[None, None]
    picture = torch.tensor(scene.image).permute(2, 0, 1)[None].float() / 255
    with one_thread():
        filled = crop(network(picture, hidden)[0].permute(1, 2, 0).numpy(), window)
    check_range(filled, what, remedy)
    return (filled.clip(0, 1) * 255).round().astype(np.uint8)


def try_on_scene(fill: Callable[..., np.ndarray], size: int, options: Any) -> None:
    """Inpaint a square scene of so many pixels, as `fill` does with its options. Raises InputError as it does."""
    scene = trial_scene(size)
    with suppress(NoBackground):  # a picture of one pixel, which no network will see
        fill(scene, scene.box, np.random.default_rng(0), Materials(), options)


def check_range(filled: np.ndarray, what: str, remedy: str) -> None:
    """Raise InputError, from `what` to `remedy`, unless a network's picture, float (h, w, 3), is about in [0, 1]."""
    if not np.isfinite(filled).all():
        value = "nan" if np.isnan(filled).any() else "infinite"
        raise InputError(f"{what}: its picture is {value}; {remedy}")
    low, high = filled.min(), filled.max()
    if low < -OUTSIDE or high > 1 + OUTSIDE:
        raise InputError(f"{what}: its picture goes from {low:.2f} to {high:.2f}, expected [0, 1]; {remedy}")
