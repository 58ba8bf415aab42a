"""Common parts of the inpainting fills: a hole needs known pixels beside it, and a network's picture becomes uint8."""

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


OUTSIDE = 0.5  # how far a network without a last sigmoid may go beyond [0, 1]


def hole(scene: Scene) -> np.ndarray:
    """Return the box as bool (H, W). Raises NoBackground if it covers the picture: then nothing is known."""
    hidden = scene.causal()
    if hidden.all():
        raise NoBackground
    return hidden


def fill_by(
    network: Callable[[Tensor, Tensor], Tensor], scene: Scene, window: Box, what: str, remedy: str
) -> np.ndarray:
    """Return uint8 (h, w, 3): the window of a network's picture of the scene, on one thread.

    network: picture, float32 (1, 3, H, W) in [0, 1], and hole, float32 (1, 1, H, W), 1 = hidden -> picture; what,
    remedy: name and remedy in words, for errors. Raises NoBackground if the box covers the picture, InputError for NaN,
    infinity, and numbers far beyond [0, 1].
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
    """Return the result of `fill_by` for each of some scenes of one size, in batches; None if the box covers a scene.

    network: as there, for N pictures on the device. Raises InputError like `fill_by`.
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
    """Return the output of a network, float (h, w, 3), as uint8. Raises InputError like `check_range`."""
    import numpy as np

    check_range(filled, what, remedy)
    pixels: np.ndarray = (filled.clip(0, 1) * 255).round().astype(np.uint8)
    return pixels


def try_on_scene(fill: Callable[..., np.ndarray], size: int, options: Any) -> None:
    """Inpaint a square scene of size x size pixels with `fill` and its options. Raises InputError like `fill`."""
    import numpy as np

    scene = trial_scene(size)
    with suppress(NoBackground):  # a picture of one pixel; no network gets it
        fill(scene, scene.box, np.random.default_rng(0), Materials(), options)


def check_range(filled: np.ndarray, what: str, remedy: str) -> None:
    """Raise InputError unless a network's picture, float (h, w, 3), is about in [0, 1]. what, remedy: for its text."""
    import numpy as np

    if not np.isfinite(filled).all():
        value = "nan" if np.isnan(filled).any() else "infinite"
        raise InputError(f"{what}: its picture is {value}; {remedy}")
    low, high = filled.min(), filled.max()
    if low < -OUTSIDE or high > 1 + OUTSIDE:
        raise InputError(f"{what}: its picture goes from {low:.2f} to {high:.2f}, expected [0, 1]; {remedy}")
