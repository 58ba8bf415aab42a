"""The types of engines, and the setup of every worker."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

Task = Callable[[Any], Any]
Map = Callable[[Iterable[Any]], Iterator[Any]]


def quiet_threads() -> None:
    """Let OpenCV use the calling thread only: workers share the cores among themselves."""
    import cv2

    cv2.setNumThreads(0)


place = ""  # set in a worker on another machine than the run: the name of its node, in words


def at_place(reason: str) -> str:
    """Return a reason, with the name of the machine if it is not the machine of the run."""
    return f"{place}: {reason}" if place else reason
