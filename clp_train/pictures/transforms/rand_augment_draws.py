"""The draws of the random operations and their ranges, the same for both forms: by PIL and on a device."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

LEVELS = 9
FILL, CUT = (128, 128, 128), (125, 122, 113)
SHEAR, SHIFT, ANGLE, ENHANCE = 0.3, 150 / 331, 30.0, 0.9  # at the last level
HOLE, SIDE = 20, 112  # pixels at the last level, in a picture of the benchmark's side


class Draw(NamedTuple):
    """Parameters of an operation. level: 1 to 9; sign: -1 or 1; place: two numbers in [0, 1).

    For one picture, or arrays for many: (m,), (m,) and (m, 2).
    """

    level: Any
    sign: Any
    place: Any


class Draws(NamedTuple):
    """The two draws of each of n pictures. applied: bool (n, 2); operations: int64 (n, 2), which of the fifteen;
    levels, signs: int64 (n, 2), places: float64 (n, 2, 2), as in `Draw`.
    """

    applied: np.ndarray
    operations: np.ndarray
    levels: np.ndarray
    signs: np.ndarray
    places: np.ndarray

    def of(self, rows: np.ndarray, turn: int) -> Draw:
        """Return the parameters of some pictures, int64 (m,): of their first draw (turn 0) or their second (turn 1)."""
        return Draw(self.levels[rows, turn], self.signs[rows, turn], self.places[rows, turn])


def shear_of(draw: Draw) -> Any:
    """Return the shear of a picture, in pixels per pixel."""
    return draw.sign * SHEAR * draw.level / LEVELS


def shift_of(draw: Draw, side: int) -> Any:
    """Return the shift of a picture, in pixels, for a side of `side` pixels."""
    return draw.sign * SHIFT * draw.level / LEVELS * side


def factor_of(draw: Draw) -> Any:
    """Return the factor of a property."""
    return 1 + draw.sign * ENHANCE * draw.level / LEVELS


def half_of_hole(level: int, width: int) -> int:
    """Return half the side of the square that is painted over a picture, in pixels."""
    return max(1, round(round(HOLE * level / LEVELS) // 2 * width / SIDE))


def bits_of(level: int) -> int:
    """Return how many bits of a level are kept."""
    return round(8 - 4 * level / LEVELS)


def first_inverted(level: int) -> int:
    """Return the lowest of the 256 levels that solarizing inverts."""
    return math.ceil(256 * (1 - level / LEVELS))
