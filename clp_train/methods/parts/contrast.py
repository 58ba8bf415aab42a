"""Supervised contrast by the errors of a first classifier: which pictures are compared, and the loss."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from clp_train.pictures.samplers import repeat

PARTS = 4
"""Parts of a set of pictures: anchors, positives, negatives, negatives of the positives."""


def contrastive_loss(anchor: Tensor, positives: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    """Return the supervised contrastive loss of each anchor, (K,): pull its positives, push its negatives.

    anchor: (K, A); positives, negatives: (K, M, A); all of length 1. With similarities s over the temperature, the mean
    over positives of -(s_p - log(sum_n exp s_n + sum_p exp s_p)). Source: Zhang et al. 2022.
    """
    near, far = ((others @ anchor[:, :, None]).squeeze(2) / temperature for others in (positives, negatives))
    return torch.cat([near, far], 1).logsumexp(1) - near.mean(1)


class ContrastSets:
    """Draws sets of rows by labels and predictions, int64 (N,) each, with at least two classes among the labels.

    A picture is right if the two agree. A set for an anchor of class c holds (after "else": the replacement of an empty
    pool): anchors: right pictures of c; positives: wrong pictures of c, else right ones; negatives: pictures of other
    classes predicted as c, else right ones of other classes, else any; negatives of the first positive: right pictures
    of the class that it is predicted as, else any other than c; for a right positive the same as for the anchor.
    Source: Zhang et al. 2022, their two-sided sampling; the replacements are ours.
    """

    def __init__(self, label: np.ndarray, predicted: np.ndarray) -> None:
        self.label, self.predicted = label, predicted
        right = label == predicted
        classes = np.unique(label)
        self.right = {c: np.flatnonzero(right & (label == c)) for c in classes}
        self.wrong = {c: np.flatnonzero(~right & (label == c)) for c in classes}
        self.others = {c: np.flatnonzero(label != c) for c in classes}
        self.taken_for = {c: np.flatnonzero((predicted == c) & ~right) for c in classes}
        self.others_right = {c: np.flatnonzero(right & (label != c)) for c in classes}
        self.firsts = np.flatnonzero(right) if right.any() else np.arange(len(label))

    def draw_set(self, first: int, size: int, rng: np.random.Generator) -> np.ndarray:
        """Return the set of a first anchor: rows (4, size), the parts in the order of `PARTS`.

        A row is repeated in a part only if its pool has fewer than `size` rows.
        """
        c = self.label[first]
        anchors = np.append(first, sample(exclude(self.right[c], first), size - 1, rng))
        positives = sample(exclude(self.wrong[c], first, self.right[c]), size, rng)
        hard = first_nonempty(self.taken_for[c], self.others_right[c], self.others[c])
        guess = self.predicted[positives[0]]
        easy = hard if guess == c else first_nonempty(self.right.get(guess, hard[:0]), self.others[c])
        return np.stack([anchors, positives, sample(hard, size, rng), sample(easy, size, rng)])

    def epoch(self, sets: int, size: int, rng: np.random.Generator, even: bool = False) -> np.ndarray:
        """Return `sets` sets, (sets, 4, size): every possible first anchor is used once before any is used again.

        even: classes take turns, and within a class every first anchor is used once before any is used again.
        """
        firsts = self.firsts_in_turn(sets, rng) if even else repeat(self.firsts, sets, rng)
        return np.stack([self.draw_set(first, size, rng) for first in firsts])

    def firsts_in_turn(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Return `count` first anchors, rows (count,): the classes that have some take turns."""
        classes = np.unique(self.label[self.firsts])
        rounds = -(-count // len(classes))
        pools = [repeat(self.firsts[self.label[self.firsts] == c], rounds, rng) for c in classes]
        return np.stack(pools, 1).ravel()[:count]


def first_nonempty(*pools: np.ndarray) -> np.ndarray:
    """Return the first pool that is not empty."""
    return next(pool for pool in pools if len(pool))


def exclude(pool: np.ndarray, row: int, *more: np.ndarray) -> np.ndarray:
    """Return the first pool that holds another row, without this one; the row itself if none does."""
    return first_nonempty(*(rows[rows != row] for rows in (pool, *more)), np.array([row]))


def sample(pool: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Return `size` rows of a pool, without repeats if there are enough, else each equally often or once more."""
    if len(pool) < size:
        return np.resize(rng.permutation(pool), size)
    return rng.choice(pool, size, replace=False)
