"""Processor seconds of one thread: what a machine that is shared by others tells honestly."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import TypedDict

ROUNDS = 3


class Cost(TypedDict):
    """What a picture costs. ms: processor milliseconds, the median of the rounds; rounds: all of them; wall: by the
    clock, where others may have had the core.
    """

    ms: float
    rounds: list[float]
    wall: float


def cost(work: Callable[[], object], pictures: int, rounds: int = ROUNDS) -> Cost:
    """Return what a picture costs of some work on so many; it is done once more before, to warm up."""
    work()
    made, walls = [], []
    for _ in range(rounds):
        cpu, wall = time.process_time(), time.perf_counter()
        work()
        made.append(1000 * (time.process_time() - cpu) / pictures)
        walls.append(1000 * (time.perf_counter() - wall) / pictures)
    return cost_of(made, walls)


def cost_of(made: list[float], walls: list[float]) -> Cost:
    """Return a cost of its rounds, milliseconds a picture by the processor's clock and by the wall's."""
    return {
        "ms": round(statistics.median(made), 4),
        "rounds": [round(each, 4) for each in made],
        "wall": round(statistics.median(walls), 4),
    }
