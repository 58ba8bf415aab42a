"""What engines work on, and what every worker does before it works."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

Task = Callable[[Any], Any]
Map = Callable[[Iterable[Any]], Iterator[Any]]


def quiet_threads() -> None:
    """Let OpenCV use the calling thread only: workers share the cores among themselves."""
    import cv2

    cv2.setNumThreads(0)


place = ""  # of a worker on another machine than the run: which one it is, in words


def at_place(reason: str) -> str:
    """Return a reason with the machine that it was found on, where that is another one than the run's."""
    return f"{place}: {reason}" if place else reason
