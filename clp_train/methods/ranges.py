"""The check that methods' own numbers go through."""

from __future__ import annotations

import math

from clp_aug.contract.errors import UsageError


def require_within(name: str, value: float, low: float, high: float = math.inf, below: bool = False) -> None:
    """Raise UsageError for a setting that is NaN, infinite, or out of [low, high]; below: out of [low, high)."""
    if math.isfinite(value) and low <= value <= high and not (below and value == high):
        return
    expected = f"from {low} to {high}"
    if below or high == math.inf:
        expected = f">= {low}" + (f" and < {high}" if below else "")
    raise UsageError(f"--set {name}={value}: expected a number {expected}")
