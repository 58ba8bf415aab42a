"""The program of a process that reads pictures: blocks of rows come in, their pictures go out. No torch here."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from clp_aug.datasets.base import Dataset

MAIN = "import sys; sys.path[:] = sys.argv[1:]; from clp_train.loading.crew_member import main; main()"
"""The program of the process; its arguments are the search path of modules."""


@dataclass(frozen=True)
class Fitted:
    """Reads pictures of a data set through the fixed resize and crop; picklable, as data sets are."""

    dataset: Dataset
    size: int
    fit: str

    def __call__(self, row: int) -> np.ndarray:
        """Return the picture of a row: uint8 (3, size, size), not contiguous."""
        return self.dataset.image(row, self.size, self.fit).transpose(2, 0, 1)


def main() -> None:
    """Receive the read function, then blocks of rows, and answer each block until the input ends.

    Output that is printed meanwhile goes to stderr. A task that cannot be unpickled ends the process silently.
    """
    asked, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        read = pickle.load(asked)
        while True:
            rows = pickle.load(asked)
            pickle.dump(pictures_of(read, rows), answers, pickle.HIGHEST_PROTOCOL)
            answers.flush()
    except Exception:  # the parent process notices, and reads the pictures itself
        os._exit(1)


def pictures_of(read: Callable[[int], Any], rows: list[int]) -> np.ndarray | None:
    """Return the pictures of some rows as one array (n, ...); None if one cannot be read, or shapes differ."""
    try:
        found = [read(row) for row in rows]
        is_array = all(isinstance(picture, np.ndarray) for picture in found)
        return np.stack(found) if is_array and len({picture.dtype for picture in found}) == 1 else None
    except Exception:  # the parent process reads them again and gets the error
        return None
