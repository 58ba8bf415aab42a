"""The input of a fill: one picture with its box, and materials from other pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clp_aug.contract import boxes
from clp_aug.contract.boxes import Box
from clp_aug.contract.schema import COUNTERFACTUAL
from clp_aug.nets.devices import CPU

if TYPE_CHECKING:
    import numpy as np


class NoBackground(Exception):
    """Raised if the box leaves no background to take a fill from. The pipeline then fills grey and counts it."""


@dataclass(frozen=True)
class Scene:
    """One picture of the meta set. image: uint8 (H, W, 3) RGB; box: half-open pixels; label: its class; alpha: the
    matte that cuts its object out, float32 (H, W) in [0, 1], 0 outside the box; None for the whole box.
    """

    image: np.ndarray
    box: Box
    label: int
    alpha: np.ndarray | None = None

    def causal(self) -> np.ndarray:
        """Return r of eq. (2): bool (H, W), True inside the box."""
        return boxes.mask(self.box, *self.image.shape[:2])

    def window(self, kind: int) -> Box:
        """Return the rectangle that holds the hole: the box of a counterfactual, the whole picture of a factual."""
        height, width = self.image.shape[:2]
        return self.box if kind == COUNTERFACTUAL else (0, 0, width, height)


def no_partners(label: int, rng: np.random.Generator) -> Iterator[Scene]:
    """Yield no scene."""
    return iter(())


@dataclass(frozen=True)
class Materials:
    """What the pipeline gives to any fill besides its picture.

    partners: (label, generator) -> scenes of other classes in a random order; num_classes: C; device: name of the
    device for the networks of fills.
    """

    partners: Callable[[int, np.random.Generator], Iterator[Scene]] = no_partners
    num_classes: int = 2
    device: str = CPU


def crop(image: np.ndarray, window: Box) -> np.ndarray:
    """Return the pixels of a window as a view: (h, w, ...)."""
    x0, y0, x1, y1 = window
    return image[y0:y1, x0:x1]


def trial_scene(size: int) -> Scene:
    """Return a square scene for trying networks: black and white stripes, with a box in the middle."""
    import numpy as np

    stripes = 255 * (np.arange(size) * 4 // size % 2)
    image = np.broadcast_to(stripes[None, :, None], (size, size, 3)).astype(np.uint8)
    low, high = size // 4, max(size // 4 + 1, 3 * size // 4)
    return Scene(image, (low, low, high, high), 0)


def compose(scene: Scene, kind: int, infilling: np.ndarray) -> np.ndarray:
    """Eqs. (2) and (4) for a box: uint8 (H, W, 3) with the hole filled, every other pixel bit-identical.

    infilling: uint8, as large as the scene's window. For a counterfactual it goes into the box. For a factual the box's
    pixels go into it, or those of the object if the scene has alpha.
    """
    import numpy as np

    if kind != COUNTERFACTUAL and scene.alpha is not None:
        share = scene.alpha[..., None]
        return (share * scene.image + (1 - share) * infilling).round().astype(np.uint8)
    filled = scene.image.copy() if kind == COUNTERFACTUAL else infilling.copy()
    crop(filled, scene.box)[...] = infilling if kind == COUNTERFACTUAL else crop(scene.image, scene.box)
    return filled
