"""What the inpainting fills share: a hole needs something known beside it, and a network's picture becomes uint8."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from clp_aug.contract.boxes import Box
from clp_aug.contract.errors import InputError
from clp_aug.fills.scene import Materials, NoBackground, Scene, crop, trial_scene
from clp_aug.nets.devices import CPU
from clp_aug.nets.threads import batches, inference_on, most_in_a_batch

if TYPE_CHECKING:
    import numpy as np
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
    (filled,) = fill_all_by(network, [scene], [window], what, remedy, CPU)
    if filled is None:
        raise NoBackground
    return filled


def fill_all_by(
    network: Callable[[Tensor, Tensor], Tensor],
    scenes: Sequence[Scene],
    windows: Sequence[Box],
    what: str,
    remedy: str,
    device: str,
) -> list[np.ndarray | None]:
    """Return what `fill_by` does for each of some scenes of one size, in batches; None where the box covers one.

    network: as there, for N pictures on the device. Raises InputError as `fill_by` does.
    """
    import numpy as np
    import torch

    filled: list[np.ndarray | None] = [None] * len(scenes)
    known = [i for i, scene in enumerate(scenes) if not scene.causal().all()]
    for part in batches(len(known), most_in_a_batch(scenes[0].image[..., 0].size)):
        rows = [known[i] for i in part]
        pictures = torch.from_numpy(np.stack([scenes[i].image for i in rows])).to(device).permute(0, 3, 1, 2)
        hidden = torch.from_numpy(np.stack([scenes[i].causal() for i in rows])).to(device)[:, None]
        with inference_on(device):
            whole = network(pictures.float() / 255, hidden.float()).permute(0, 2, 3, 1).cpu().numpy()
        for i, picture in zip(rows, whole, strict=True):
            filled[i] = as_pixels(crop(picture, windows[i]), what, remedy)
    return filled


def as_pixels(filled: np.ndarray, what: str, remedy: str) -> np.ndarray:
    """Return what a network gave, float (h, w, 3), as uint8. Raises InputError as `check_range` does."""
    import numpy as np

    check_range(filled, what, remedy)
    pixels: np.ndarray = (filled.clip(0, 1) * 255).round().astype(np.uint8)
    return pixels


def try_on_scene(fill: Callable[..., np.ndarray], size: int, options: Any) -> None:
    """Inpaint a square scene of so many pixels, as `fill` does with its options. Raises InputError as it does."""
    import numpy as np

    scene = trial_scene(size)
    with suppress(NoBackground):  # a picture of one pixel, which no network will see
        fill(scene, scene.box, np.random.default_rng(0), Materials(), options)


def check_range(filled: np.ndarray, what: str, remedy: str) -> None:
    """Raise InputError, from `what` to `remedy`, unless a network's picture, float (h, w, 3), is about in [0, 1]."""
    import numpy as np

    if not np.isfinite(filled).all():
        value = "nan" if np.isnan(filled).any() else "infinite"
        raise InputError(f"{what}: its picture is {value}; {remedy}")
    low, high = filled.min(), filled.max()
    if low < -OUTSIDE or high > 1 + OUTSIDE:
        raise InputError(f"{what}: its picture goes from {low:.2f} to {high:.2f}, expected [0, 1]; {remedy}")
