"""AUDIT DATA: guessed groups: each class is divided by the class that its backgrounds look like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NO_GUESS = "any"
AGREES, AGAINST = "agrees", "argues against"
SIDES = (AGREES, AGAINST)
PAIRS, TWO_SIDES, NO_GROUPS = "label x class that the background looks like", "label x agrees or not", "labels alone"
MOST_CLASSES_IN_PAIRS = 4  # more pairs of classes than 16 would mostly be rare
LEAST_IN_A_PAIR = 10  # training pictures; else two groups a class


@dataclass(frozen=True)
class Guess:
    """Guessed groups of pictures. made_of: PAIRS, TWO_SIDES or NO_GROUPS; values: the values of the column
    background_group; value: int64 (n,), the index into `values` of each picture.
    """

    made_of: str
    values: tuple[str, ...]
    value: np.ndarray

    def counts(self, label: np.ndarray, chosen: np.ndarray, classes: int) -> np.ndarray:
        """Return the pictures of each group among the chosen ones, bool (n,): int64 (classes, values)."""
        cells = label[chosen] * len(self.values) + self.value[chosen]
        size = classes * len(self.values)
        found: np.ndarray = np.bincount(cells, minlength=size).reshape(classes, -1)
        return found


def guess_groups(
    is_telling: bool, likeness: np.ndarray, own: np.ndarray, label: np.ndarray, is_train: np.ndarray,
    class_names: Sequence[str],
) -> Guess:  # fmt: skip
    """Return the guessed groups: pairs of classes if these are few and no pair is rare, else two groups per class.

    is_telling: whether backgrounds predict the label; if not, no group is guessed. likeness: int64 (n,), the
    class that each background looks like; own: float64 (n,), the evidence of the background for its own label in nats,
    < 0 for evidence against it; label: int64 (n,); is_train: bool (n,), pictures that decide which pairs are rare. For
    two classes both ways give the same groups. Source: ours.
    """
    if not is_telling:
        return Guess(NO_GROUPS, (NO_GUESS,), np.zeros(len(label), np.int64))
    classes = len(class_names)
    if classes <= MOST_CLASSES_IN_PAIRS:
        pairs = Guess(PAIRS, tuple(class_names), likeness)
        if classes == 2 or pairs.counts(label, is_train, classes).min() >= LEAST_IN_A_PAIR:
            return pairs
    return Guess(TWO_SIDES, SIDES, (own < 0).astype(np.int64))


def strongest_against(own: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Return the indices, int64, of chosen pictures with backgrounds that speak against their label, strongest first.

    own: float64 (n,), the evidence of the background for the label, in nats; chosen: bool (n,).
    """
    rows = np.flatnonzero(chosen & (own < 0))
    found: np.ndarray = rows[np.argsort(own[rows], kind="stable")]
    return found
