"""The arguments that a classifier is built from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from clp_train.models.weights import Weights


@dataclass(frozen=True)
class Given:
    """Arguments of the builder of another network. classes: how many; mean, std: of each channel of the data, in [0, 1]
    units; generator: of every start value; weights: to start from; head: the dotted name of its last layer, None to
    find it; size: side of the pictures in pixels, None if unknown.
    """

    classes: int
    mean: Sequence[float]
    std: Sequence[float]
    generator: torch.Generator
    weights: Weights | None = None
    head: str | None = None
    size: int | None = None

    @property
    def weights_of_body(self) -> Weights | None:
        """Weights of the bare network; None if they are those of a run."""
        return None if self.weights is None or self.weights.of_a_classifier else self.weights

    def seed_layers(self) -> None:
        """Seed the CPU's global generator from ours, because layers initialise themselves from it."""
        torch.default_generator.manual_seed(int(torch.randint(1 << 62, (), generator=self.generator)))
