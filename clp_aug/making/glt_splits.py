"""Divide the pictures of each class and attribute into Train-GLT, Train-CBL, their val and tests: index arithmetic.

Source: the construction of ImageNet-GLT (Tang et al. 2022), with sizes from the available pictures; "ours" marks
differences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clp_aug.contract.errors import UsageError
from clp_aug.protocol.long_tail import class_counts

SHARES = (7, 2, 1)  # of the attributes within a class, in tenths, in training and in test_bl
RESERVE = 4  # a test with balanced attributes takes at most one of so many pictures of an attribute
VAL, TEST_LT = 0.15, 0.15  # of the long-tailed pool; the published benchmark has 0.15 and 0.29

Rows = dict[tuple[int, int], np.ndarray]
"""(class, attribute) -> rows, int64, in the order in which they are assigned."""


@dataclass(frozen=True, eq=False)
class Benchmark:
    """Splits of both training sets, by name: "glt" and "cbl" -> split -> rows of each class and attribute.

    per_attribute: test_bbl pictures of each class and attribute; short: for each class, the number of pictures that the
    long tail needed but an attribute did not have.
    """

    sets: dict[str, dict[str, Rows]]
    per_attribute: int
    short: list[int]


def apportion(total: int, shares: Sequence[int] = SHARES) -> np.ndarray:
    """Return whole parts of `total`, int64, as near to the shares as possible; the first of equal remainders wins.

    Source: largest remainders (ours; the benchmark rounds down and loses up to two pictures per class).
    """
    exact = total * np.asarray(shares) / sum(shares)
    parts = np.floor(exact + 1e-9).astype(np.int64)
    parts[np.argsort(parts - exact, kind="stable")[: total - parts.sum()]] += 1
    return parts


def divide(
    pools: Rows, class_names: Sequence[str], imbalance: float, per_attribute: int, rng: np.random.Generator
) -> Benchmark:
    """Divide the pictures of a labelled set; equal pools and generators give equal splits.

    pools: all pictures of each class and attribute, shuffled; class 0 is the head, attribute 0 the largest of its
    class; class_names: by rank, for messages; imbalance: ratio of the largest to the smallest class of Train-GLT;
    per_attribute: most test_bbl pictures of each class and attribute, fewer if the smallest one does not have four
    times as many. The tests with balanced classes, test_bbl and test_bl, are the same for both training sets and have
    the same size for every class (ours); the two training sets overlap. Raises UsageError if a class or attribute is
    too small.
    """
    classes = len(class_names)
    smallest = min(pools, key=lambda cell: len(pools[cell]))
    each = min(per_attribute, len(pools[smallest]) // RESERVE)
    if each < 1:
        raise UsageError(
            f"attribute {smallest[1]} of class {class_names[smallest[0]]!r} has {len(pools[smallest])} pictures,"
            f" {RESERVE} are needed; give more pictures per class, or leave the class out"
        )
    bbl = {cell: rows[:each] for cell, rows in pools.items()}
    rest = {cell: rows[each:] for cell, rows in pools.items()}
    shape = apportion(each * len(SHARES))
    bl = {(c, a): rows[: shape[a]] for (c, a), rows in rest.items()}
    rest = {(c, a): rows[shape[a] :] for (c, a), rows in rest.items()}
    glt, short = long_tailed(rest, classes, imbalance, rng)
    count = sum(map(len, glt["train"].values())) / classes
    val = round(sum(map(len, glt["val"].values())) / classes)
    cbl = balanced(rest, classes, max(round(count), 1), max(val, 1))
    tests = {"test_bl": bl, "test_bbl": bbl}
    empty = {cell: rows[:0] for cell, rows in pools.items()}
    return Benchmark({"glt": {**glt, **tests}, "cbl": {**cbl, "test_lt": empty, **tests}}, each, short)


def long_tailed(
    pools: Rows, classes: int, imbalance: float, rng: np.random.Generator
) -> tuple[dict[str, Rows], list[int]]:
    """Return train, val and test_lt of Train-GLT, and the number of missing pictures of each class.

    Class c has n_0 * imbalance^(-c / (C - 1)) pictures, attributes 7 : 2 : 1, if there are so many; n_0 is the largest
    number that class 0 can give. val and test_lt are drawn from the whole pool, so they are distributed like train; one
    picture of each class always stays in train (ours).
    """
    have = np.array([[len(pools[c, a]) for a in range(len(SHARES))] for c in range(classes)])
    counts = class_counts(most(have[0], 0), classes, imbalance)
    shares = np.stack([apportion(int(n)) for n in counts])
    if counts[-1] < 1:
        raise UsageError(
            f"--imbalance {imbalance:g}: the last class would have no picture, the first one has {counts[0]}; give a"
            " smaller imbalance"
        )
    taken = np.minimum(shares, have)
    pool = [(c, a, row) for (c, a), rows in sorted(pools.items()) for row in rows[: taken[c, a]].tolist()]
    order = rng.permutation(len(pool)).tolist()
    keep: dict[int, int] = {}
    for i in order:
        keep.setdefault(pool[i][0], i)  # the first of each class stays in train
    free = [i for i in order if keep[pool[i][0]] != i]
    first, second = round(VAL * len(pool)), round((VAL + TEST_LT) * len(pool))
    parts = {"train": [*keep.values(), *free[second:]], "val": free[:first], "test_lt": free[first:second]}
    return {name: cells([pool[i] for i in sorted(part)], pools) for name, part in parts.items()}, (
        (shares - taken).sum(1).tolist()
    )


def balanced(pools: Rows, classes: int, count: int, val: int) -> dict[str, Rows]:
    """Return train and val of Train-CBL: at most `count` and `val` pictures of every class, attributes 7 : 2 : 1.

    Raises UsageError if not even one training picture per class is left.
    """
    have = np.array([[len(pools[c, a]) for a in range(len(SHARES))] for c in range(classes)])
    val = min(val, most(have.min(0), 1))
    count = min(count, most(have.min(0) - apportion(val), 0))
    if count < 1 or val < 1:
        raise UsageError("not every class has a picture left for training; give more pictures per class")
    first, last = apportion(val), apportion(val) + apportion(count)
    return {
        "train": {(c, a): rows[first[a] : last[a]] for (c, a), rows in pools.items()},
        "val": {(c, a): rows[: first[a]] for (c, a), rows in pools.items()},
    }


def most(have: np.ndarray, leave: int) -> int:
    """Return the largest total with available parts 7 : 2 : 1, each with `leave` more. have: int64 (attributes,)."""
    total = int(have.sum())
    while total > 0 and (apportion(total) > have - leave).any():
        total -= 1
    return total


def cells(pool: list[tuple[int, int, int]], like: Rows) -> Rows:
    """Return rows by class and attribute from a list of (class, attribute, row)."""
    found: dict[tuple[int, int], list[int]] = {cell: [] for cell in like}
    for c, a, row in pool:
        found[c, a].append(row)
    return {cell: np.array(rows, np.int64) for cell, rows in found.items()}
