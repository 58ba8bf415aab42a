"""The checks that several methods put their settings through."""

from __future__ import annotations

import math

from clp_aug.contract.errors import UsageError

FEATURES_ONCE = "changes pictures at every step, and a frozen body's features are made once"


def require_within(name: str, value: float, low: float, high: float = math.inf, below: bool = False) -> None:
    """Raise UsageError for a setting that is NaN, infinite, or out of [low, high]; below: out of [low, high)."""
    if math.isfinite(value) and low <= value <= high and not (below and value == high):
        return
    expected = f"from {low} to {high}"
    if below or high == math.inf:
        expected = f">= {low}" + (f" and < {high}" if below else "")
    raise UsageError(f"--set {name}={value}: expected a number {expected}")


def require_learning_body(method: str, trainable: str, why: str) -> None:
    """Raise UsageError for a run of the last layer alone, of a method that needs more; why: goes on after its name."""
    if trainable == "head":
        raise UsageError(f"--set trainable=head: method {method} {why}; take --set trainable=all")
