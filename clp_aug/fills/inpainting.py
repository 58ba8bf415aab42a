"""What the inpainting fills share: a hole needs something known beside it, and a network's picture becomes uint8."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from clp_aug.contract.boxes import Box
from clp_aug.fills.scene import NoBackground, Scene, crop
from clp_aug.nets.threads import one_thread

if TYPE_CHECKING:
    from torch import Tensor


def hole(scene: Scene) -> np.ndarray:
    """Return the box as bool (H, W). Raises NoBackground when it covers the picture: nothing is known."""
    hidden = scene.causal()
    if hidden.all():
        raise NoBackground
    return hidden


def fill_by(network: Callable[[Tensor, Tensor], Tensor], scene: Scene, window: Box) -> np.ndarray:
    """Return uint8 (h, w, 3): the window of what a network makes of the scene, on one thread.

    network: picture, float32 (1, 3, H, W) in [0, 1], and hole, float32 (1, 1, H, W), 1 = hidden -> picture. Raises
    NoBackground when the box covers the picture.
    """
    import torch

    hidden = torch.from_numpy(hole(scene)).float()[None, None]
    picture = torch.tensor(scene.image).permute(2, 0, 1)[None].float() / 255
    with one_thread():
        filled = network(picture, hidden)[0].clamp(0, 1).permute(1, 2, 0).numpy()
    return (crop(filled, window) * 255).round().astype(np.uint8)
