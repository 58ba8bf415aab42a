"""What a fill sees: one picture with its box, the hole to fill, and what it may draw on beyond the picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clp_aug.contract import boxes
from clp_aug.contract.boxes import Box
from clp_aug.contract.schema import COUNTERFACTUAL


class NoBackground(Exception):
    """The box leaves no background to take a fill from; the pipeline fills grey instead and counts it."""


@dataclass(frozen=True)
class Scene:
    """One picture of the meta set. image: uint8 (H, W, 3) RGB; box: half-open pixels; label: its class."""

    image: np.ndarray
    box: Box
    label: int

    def causal(self) -> np.ndarray:
        """Return r of eq. (2): bool (H, W), True inside the box."""
        return boxes.mask(self.box, *self.image.shape[:2])

    def hole(self, kind: int) -> np.ndarray:
        """Return the pixels that a fill replaces, bool (H, W): r for a counterfactual, 1 - r for a factual."""
        return self.causal() if kind == COUNTERFACTUAL else ~self.causal()


def no_partners(label: int, rng: np.random.Generator) -> Iterator[Scene]:
    """Yield no scene."""
    return iter(())


@dataclass(frozen=True)
class Materials:
    """What a fill may draw on beyond its picture.

    partners: generator -> scenes of other classes in a random order, for mix-rand and keep-colour;
    classifier: exported program for fgsm; epsilon: its l_inf radius in [0, 1] pixel units; targeted: towards a
    random other class, else away from the own one; num_classes: C.
    """

    partners: Callable[[int, np.random.Generator], Iterator[Scene]] = no_partners
    classifier: Path | None = None
    epsilon: float = 0.5
    targeted: bool = True
    num_classes: int = 2


def compose(image: np.ndarray, hole: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Eqs. (2) and (4): the picture with the hole's pixels replaced; every other pixel is bit-identical.

    image: uint8 (H, W, 3); hole: bool (H, W); values: uint8 (n, 3), n = hole pixels in scan order.
    """
    filled = image.copy()
    filled[hole] = values
    return filled
