"""What a classifier is built for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from clp_train.models.weights import Weights


@dataclass(frozen=True)
class Given:
    """What a classifier from elsewhere is built for. classes: how many; mean, std: of each channel of the data, in
    [0, 1] units; generator: that every start value is drawn from; weights: to start from; head: the place of its last
    layer, None to find it; size: side of the pictures in pixels, None where nobody knows it.
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
        """Weights of the bare network, as it is elsewhere; None where they are a run's."""
        return None if self.weights is None or self.weights.of_a_classifier else self.weights

    def seed_layers(self) -> None:
        """Let layers start in their own way, from the global generator of the CPU, with a seed that ours draws."""
        torch.default_generator.manual_seed(int(torch.randint(1 << 62, (), generator=self.generator)))
