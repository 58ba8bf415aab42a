"""What is None at first, and not any more where a method needs it."""

from __future__ import annotations

from typing import TypeVar

Value = TypeVar("Value")


def require(value: Value | None, name: str) -> Value:
    """Return a value that is not None. Raises ValueError for None, which says what is missing."""
    if value is None:
        raise ValueError(f"{name}: missing here")
    return value
