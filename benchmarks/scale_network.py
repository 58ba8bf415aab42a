"""A network that costs next to nothing, for benchmarks of what is around it."""

from __future__ import annotations

from torch import nn


def tiny(classes: int) -> nn.Module:
    """Return one wide stride, a mean and a last layer: float32 (N, 3, H, W) -> logits (N, classes)."""
    body = (nn.Conv2d(3, 16, 8, 8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(*body, nn.Linear(16, classes))
