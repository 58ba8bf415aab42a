"""READ for an audit: which pictures are audited, which give their backgrounds, and the views of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clp_aug.auditing.settings import AUTO, AuditSettings
from clp_aug.contract.audits import AuditHeader
from clp_aug.contract.errors import InputError
from clp_aug.contract.seeds import rng_for
from clp_aug.datasets.base import TRAIN, Dataset
from clp_aug.datasets.splits import split_number
from clp_aug.protocol.split import Split, spread
from clp_aug.sharding import Copy


@dataclass(frozen=True)
class Audited:
    """The pictures of an audit. split: its `meta` are the audited pictures, its `train` the pictures that give
    backgrounds; header: how the audit is made.
    """

    split: Split
    header: AuditHeader

    def copies(self) -> list[list[Copy]]:
        """Return the views of each audited picture besides itself, in the order of the shard."""
        return [[Copy(*view) for view in self.header.views()] for _ in self.split.meta]


def audit_split(dataset: Dataset, settings: AuditSettings, limit: int | None, seed: int) -> Audited:
    """Choose the pictures of an audit, and the pictures that give backgrounds, at most `settings.pool` per class. Equal
    settings give equal rows on any machine.

    limit: most audited pictures, spread over groups, or over classes. Raises UsageError for a split that does not
    exist, InputError for a split without pictures, or if all backgrounds are of one class. Source: ours.
    """
    samples = dataset.samples
    audited = split_number(dataset, None if settings.audit == AUTO else settings.audit, "--audit")
    behind = TRAIN if settings.backgrounds is None else split_number(dataset, settings.backgrounds, "--backgrounds")
    if not (samples.split == behind).any():  # a set of test pictures alone
        behind = audited
    rows, pool = (samples.ascending(np.flatnonzero(samples.split == k)) for k in (audited, behind))
    if limit is not None:
        rows = samples.ascending(spread(dataset, rows, limit, seed))
    pool = samples.ascending(some_a_class(samples.label, samples.sample_id, pool, settings.pool, seed))
    if len(np.unique(samples.label[pool])) < 2:
        raise InputError(
            f"data set {dataset.name}: split {dataset.splits[behind]} has pictures of one class only, expected two"
            " or more, for backgrounds of another class; choose another split with --backgrounds"
        )
    report: dict[str, int | list[int]] = {"train": len(pool), "meta": len(rows), "val": 0, "test": 0}
    none = np.zeros(0, np.int64)
    split = Split(pool, rows, none, none, samples.label[pool], report)
    return Audited(split, settings.header(dataset.splits[audited], dataset.splits[behind]))


def some_a_class(label: np.ndarray, ids: np.ndarray, rows: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return at most `count` rows of each class. Draws are by key, so a further class does not change the others."""
    chosen = []
    for c in np.unique(label[rows]).tolist():
        have = rows[label[rows] == c]
        have = have[np.argsort(ids[have], kind="stable")]
        chosen.append(rng_for(seed, c, "audit pool").permutation(have)[:count])
    return np.concatenate(chosen)
