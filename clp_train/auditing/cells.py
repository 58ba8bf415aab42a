"""AUDIT: answers laid out as cells, one value for a picture on a background, for the bootstrap."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np

from clp_train.auditing.bootstrap import ONE, Cells
from clp_train.auditing.views import MIX_OTHER, MIX_SAME, NONE, AuditSet


def donor_ids(audit_set: AuditSet) -> np.ndarray:
    """Return the sample ids of all pictures that give a background, int64 (D,), ascending."""
    ids = np.unique(np.concatenate([ids.ravel() for ids in audit_set.donor.values()] or [np.zeros(0, np.int64)]))
    return ids[ids != NONE]


def labels_of_rows(audit_set: AuditSet, count: int) -> np.ndarray:
    """Return the class of each of N = `count` rows of /meta/images, int64 (N,); -1 for rows that belong to no view."""
    label = np.full(count, -1, np.int64)
    for rows in audit_set.rows.values():
        made = rows >= 0
        label[rows[made]] = np.broadcast_to(audit_set.label[:, None], rows.shape)[made]
    return label


def has(audit_set: AuditSet, view: str) -> np.ndarray:
    """Return which pictures have at least one row of a view, bool (P,); a missing view has no rows."""
    rows = audit_set.rows.get(view)
    return np.zeros(len(audit_set), bool) if rows is None else np.any(rows >= 0, axis=1)


def cells_of(
    audit_set: AuditSet, view: str, value: np.ndarray, chosen: np.ndarray, stratum: np.ndarray | None = None
) -> Cells:
    """Return the cells of one view.

    value: (N,), of each row of /meta/images; chosen: bool (P,), the pictures to use; stratum: int64 (P,), e.g. the
    class, None for one stratum of all pictures; pictures of a negative stratum are left out.
    """
    stratum = np.zeros(len(audit_set), np.int64) if stratum is None else stratum
    empty = np.zeros((len(audit_set), 0), np.int64)
    rows, donor = audit_set.rows.get(view, empty), audit_set.donor.get(view, empty)
    picture, draw = np.nonzero((rows >= 0) & (chosen & (stratum >= 0))[:, None])
    donors = index_of(donor[picture, draw], donor_ids(audit_set))
    return Cells(picture, donors[:, None], value[rows[picture, draw]].astype(np.float64), stratum[picture])


def index_of(ids: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return the index of each id among the known ids, which ascend; int64 like ids; ONE for NONE."""
    return np.where(ids == NONE, ONE, np.searchsorted(known, ids))


def flips_between(audit_set: AuditSet, predicted: np.ndarray, chosen: np.ndarray) -> Cells:
    """Return for each pair (background of the own class, of another class) of one picture whether the predicted class
    differs, 1 or 0. predicted: int64 (N,); chosen: bool (P,). Two classes that the shard does not have count as one.
    """
    pairs = list(product(columns_of(audit_set, MIX_SAME), columns_of(audit_set, MIX_OTHER)))
    return pair_cells(audit_set, predicted, chosen, pairs)


def flips_within(audit_set: AuditSet, predicted: np.ndarray, chosen: np.ndarray) -> Cells:
    """Return the same for pairs of two backgrounds of the own class: the changes without another kind of background.

    There are no pairs if each picture has one draw.
    """
    return pair_cells(audit_set, predicted, chosen, list(combinations(columns_of(audit_set, MIX_SAME), 2)))


NO_PAIRS = Cells(np.zeros(0, np.int64), np.zeros((0, 2), np.int64), np.zeros(0), np.zeros(0, np.int64))
Column = tuple[np.ndarray, np.ndarray]
"""One draw of a view: rows and donors of each picture, int64 (P,) each."""


def columns_of(audit_set: AuditSet, view: str) -> list[Column]:
    """Return the draws of a view, none for a missing view."""
    if view not in audit_set.rows:
        return []
    return list(zip(audit_set.rows[view].T, audit_set.donor[view].T, strict=True))


def pair_cells(
    audit_set: AuditSet, predicted: np.ndarray, chosen: np.ndarray, pairs: list[tuple[Column, Column]]
) -> Cells:
    """Return whether predictions differ within pairs of draws, by class. No pair has the same background twice."""
    known, some = donor_ids(audit_set), [NO_PAIRS]
    for (rows_a, donor_a), (rows_b, donor_b) in pairs:
        picture = np.flatnonzero(chosen & (rows_a >= 0) & (rows_b >= 0) & (donor_a != donor_b))
        donors = np.stack([index_of(donor[picture], known) for donor in (donor_a, donor_b)], 1)
        differs = predicted[rows_a[picture]] != predicted[rows_b[picture]]
        some.append(Cells(picture, donors, differs.astype(np.float64), audit_set.label[picture]))
    return Cells(*(np.concatenate(columns) for columns in zip(*some, strict=True)))


def moved_by(audit_set: AuditSet, value: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Return for each picture the mean of a value on backgrounds of its own class minus the mean on other
    classes, float64 (P,), NaN for pictures that are not chosen. value: (N,); chosen: bool (P,), pictures with both.
    """
    out = np.full(len(audit_set), np.nan)
    if chosen.any():
        out[chosen] = mean_over_draws(audit_set.rows[MIX_SAME][chosen], value)
        out[chosen] -= mean_over_draws(audit_set.rows[MIX_OTHER][chosen], value)
    return out


def mean_over_draws(rows: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Return the mean of a value over the rows of each picture, (P, draws) with -1 for none; at least one each."""
    made = rows >= 0
    total: np.ndarray = np.where(made, value[np.where(made, rows, 0)].astype(np.float64), 0).sum(1)
    return total / made.sum(1)
