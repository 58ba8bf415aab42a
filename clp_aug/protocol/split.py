"""Protocol: one object with the rows of train, meta, validation and test, and the training labels.

The order is fixed: meta selection, long tail on the remaining training pictures, label noise, limit.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

import numpy as np

from clp_aug.contract.errors import UsageError
from clp_aug.contract.seeds import rng_for
from clp_aug.datasets import usual_meta
from clp_aug.datasets.base import TEST, TRAIN, VAL, Dataset
from clp_aug.protocol.clusters import CLUSTERS, choose_clustered
from clp_aug.protocol.label_noise import noisy_labels
from clp_aug.protocol.long_tail import thin
from clp_aug.protocol.meta_selection import choose
from clp_aug.protocol.settings import ProtocolSettings, largest_class
from clp_aug.protocol.specs import parse_meta


@dataclass(frozen=True, eq=False)
class Split:
    """Rows of a data set, int64, each in the order of their ids; train_label: int64, the labels for training, one per
    train row.

    report: counts for printing - train, meta, val, test; train_per_class, meta_per_class (lists), with groups also
    train_per_group; wrong_labels; meta_in_train if meta pictures may be in both; meta_missing for clusters. clusters:
    for a meta set spread over clusters, as plain JSON: clusters per class, features, and missing pictures of each
    class; else empty.
    """

    train: np.ndarray
    meta: np.ndarray
    val: np.ndarray
    test: np.ndarray
    train_label: np.ndarray
    report: dict[str, int | list[int]]
    clusters: dict[str, int | str | list[int]] = field(default_factory=dict)


def make_split(dataset: Dataset, settings: ProtocolSettings) -> Split:
    """Divide a data set by protocol; equal settings give equal rows on any machine.

    Raises UsageError for settings that do not fit the data set. Source: ours, after Shu et al. 2019.
    """
    seed, imbalance = settings.seed, settings.imbalance
    meta, meta_from = settings.meta or usual_meta(dataset), settings.meta_from_of(dataset.name)
    keep_meta_in_train = settings.keep_meta_in_train
    samples = dataset.samples
    which = np.minimum(samples.split, TEST)  # several test splits are one part here
    part = {number: samples.ascending(np.flatnonzero(which == number)) for number in (TRAIN, VAL, TEST)}
    if not len(part[TRAIN]):
        raise UsageError(f"data set {dataset.name} has no training pictures; give it a train split")
    if meta_from == "val" and not len(part[VAL]):
        raise UsageError(
            f"data set {dataset.name} has no val pictures to take the meta set from; use --meta-from train"
        )

    source = TRAIN if meta_from == "train" else VAL
    shared = keep_meta_in_train or (settings.img_max == "all" and source == TRAIN)
    leave = int(source == TRAIN and not shared)
    clusters: dict[str, int | str | list[int]] = {}
    if parse_meta(meta).per == "cluster":
        clustered = choose_clustered(dataset, parse_meta(meta).count, part[source], seed, leave)
        meta_rows = clustered.rows
        clusters = {"count": CLUSTERS, "features": clustered.features, "missing": clustered.missing}
    else:
        meta_rows = choose(dataset, meta, part[source], seed, leave)
    if source == VAL or settings.img_max != "all":
        part[source] = np.setdiff1d(part[source], meta_rows, assume_unique=True)
    train = part[TRAIN]
    if imbalance is not None:
        train = thin(dataset, train, imbalance, seed, meta_rows, largest_class(settings.img_max))
    if keep_meta_in_train:
        train = np.concatenate([train, meta_rows])
    train = samples.ascending(train)
    label = samples.label[train]
    if settings.noise is not None:
        label = np.where(
            np.isin(train, meta_rows), label, noisy_labels(dataset, train, settings.noise, settings.noise_seed)
        )
    if settings.limit is not None:
        kept = np.isin(train, spread(dataset, train, settings.limit, seed))
        train, label = train[kept], label[kept]

    val, test = samples.ascending(part[VAL]), part[TEST]
    report = _report(dataset, train, meta_rows, label) | {"val": len(val), "test": len(test)}
    if shared:
        report["meta_in_train"] = int(np.isin(meta_rows, train).sum())
    if clusters:
        report["meta_missing"] = sum(clustered.missing)
    return Split(train, meta_rows, val, test, label, report, clusters)


def even_shares(sizes: np.ndarray, total: int) -> np.ndarray:
    """Return how many of `total` each cell gives, int64 (n,), as evenly as sizes allow; the first cells give more."""
    level = bisect_right(range(int(sizes.max()) + 1), total, key=lambda top: int(np.minimum(sizes, top).sum())) - 1
    shares = np.minimum(sizes, level)
    shares[np.flatnonzero(sizes > level)[: total - shares.sum()]] += 1
    return shares


def spread(dataset: Dataset, rows: np.ndarray, limit: int, seed: int) -> np.ndarray:
    """Draw at most `limit` rows, spread evenly over the groups, or over the classes if there are no groups.

    Raises UsageError for a limit below one picture each.
    """
    what, cells = ("group", dataset.samples.group) if dataset.group_names else ("class", dataset.samples.label)
    sizes = np.bincount(cells[rows])
    if limit < (sizes > 0).sum():
        raise UsageError(f"limit {limit}: fewer than one picture per {what}; use {(sizes > 0).sum()} or more")
    return np.concatenate(
        [
            rng_for(seed, cell, "limit").permutation(rows[cells[rows] == cell])[:share]
            for cell, share in enumerate(even_shares(sizes, limit))
        ]
    )


def _report(
    dataset: Dataset, train: np.ndarray, meta_rows: np.ndarray, label: np.ndarray
) -> dict[str, int | list[int]]:
    clean, classes = dataset.samples.label, len(dataset.class_names)
    report: dict[str, int | list[int]] = {
        "train": len(train),
        "meta": len(meta_rows),
        "train_per_class": np.bincount(clean[train], minlength=classes).tolist(),
        "meta_per_class": np.bincount(clean[meta_rows], minlength=classes).tolist(),
        "wrong_labels": int((label != clean[train]).sum()),
    }
    if dataset.group_names:
        group = dataset.samples.group[train]
        report["train_per_group"] = np.bincount(group, minlength=len(dataset.group_names)).tolist()
    return report
