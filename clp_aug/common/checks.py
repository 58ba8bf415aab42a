"""What the tests for plug-ins share."""

from __future__ import annotations


def require(holds: bool, message: str) -> None:
    """Raise AssertionError with a message unless something holds; an assert of Python's vanishes under -O."""
    if not holds:
        raise AssertionError(message)
