"""Values that are None at first, and must be known when a method needs them."""

from __future__ import annotations

from typing import TypeVar

Value = TypeVar("Value")


def require(value: Value | None, name: str) -> Value:
    """Return a value that is not None. Raises ValueError, naming what is missing, for None."""
    if value is None:
        raise ValueError(f"{name}: missing here")
    return value
