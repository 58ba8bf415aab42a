"""One picture as the stages get it: decoded only when it is used."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from clp_aug.contract.boxes import Box
from clp_aug.datasets.base import Dataset


class Picture:
    """A row of a data set at the run's size. image: uint8 (size, size, 3); alpha and box: its mask and box, or None."""

    def __init__(self, dataset: Dataset, row: int, size: int, fit: str) -> None:
        self.dataset, self.row, self.size, self.fit = dataset, int(row), size, fit
        self.sample_id = int(dataset.samples.sample_id[row])

    @cached_property
    def image(self) -> np.ndarray:
        """uint8 (size, size, 3) RGB."""
        return self.dataset.image(self.row, self.size, self.fit)

    @cached_property
    def alpha(self) -> np.ndarray | None:
        """The data set's own mask, float32 (size, size) in [0, 1], or None."""
        return self.dataset.alpha(self.row, self.size, self.fit)

    @cached_property
    def box(self) -> Box | None:
        """The data set's own box in read pixels, or None."""
        return self.dataset.box(self.row, self.size, self.fit)


@dataclass(frozen=True)
class Decoded:
    """A picture that was decoded elsewhere, for mattes that use only its pixels. image: uint8 (size, size, 3) RGB."""

    image: np.ndarray
    sample_id: int
    alpha: np.ndarray | None = None
    box: Box | None = None

    @property
    def size(self) -> int:
        """Side in pixels."""
        return len(self.image)
