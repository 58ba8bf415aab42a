"""Protocol: one split object - who trains, who is meta, who validates and tests, and on which labels.

The order is fixed: meta selection, long tail on the remaining training pictures, label noise, limit.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

import numpy as np

from clp_aug.contract.errors import UsageError
from clp_aug.contract.seeds import rng_for
from clp_aug.datasets.base import TEST, TRAIN, VAL, Dataset
from clp_aug.datasets.clusters import CLUSTERS, choose_clustered
from clp_aug.datasets.label_noise import MAX_SEED, noisy_labels, parse_noise
from clp_aug.datasets.long_tail import thin
from clp_aug.datasets.meta_selection import choose, parse_meta

META_FROM = ("train", "val")
IMG_MAX = ("rest", "all")


@dataclass(frozen=True, eq=False)
class Split:
    """Rows of a data set, int64, each in the order of their ids; train_label: int64, as trained on, one a train row.

    report: counts for printing - train, meta, val, test; train_per_class, meta_per_class (lists), with groups also
    train_per_group; wrong_labels; meta_in_train where meta pictures may be in both. clusters: of a meta set spread over
    clusters, as plain JSON: how many a class, by which features, and how many pictures each class lacked; else empty.
    """

    train: np.ndarray
    meta: np.ndarray
    val: np.ndarray
    test: np.ndarray
    train_label: np.ndarray
    report: dict[str, int | list[int]]
    clusters: dict[str, int | str | list[int]] = field(default_factory=dict)


def check_meta(spec: str) -> None:
    """Raise UsageError for a meta set that no data set could give."""
    parse_meta(spec)


def check_noise(spec: str) -> None:
    """Raise UsageError for label noise that no data set could have."""
    parse_noise(spec)


def make_split(
    dataset: Dataset,
    *,
    meta: str,
    meta_from: str = "train",
    keep_meta_in_train: bool = False,
    imbalance: float | None = None,
    img_max: str = "rest",
    noise: str | None = None,
    noise_seed: int = 1,
    seed: int = 0,
    limit: int | None = None,
) -> Split:
    """Divide a data set by protocol; equal arguments give equal rows on any machine.

    meta, imbalance, noise: as in `meta_selection.parse_meta`, `long_tail.class_counts`, `label_noise.parse_noise`;
    limit: at most so many training pictures, spread evenly over groups, without groups over classes. Train and meta
    share no picture unless keep_meta_in_train: then the meta pictures join the training set after the long tail,
    with their clean labels. Meta pictures from val leave val. img_max: the size of the largest class that the long
    tail starts from, of the training pictures without the meta set ("rest", Shu et al. 2019: 4,990 on CIFAR-10), or of
    all of them ("all", Cao et al. 2019: 5,000; then a class trains on meta pictures where its count leaves no others),
    or a number, of the rest, for shorter runs.
    Raises UsageError for settings that the data set cannot meet. Source: ours, after Shu et al. 2019.
    """
    _check(meta_from, keep_meta_in_train, noise_seed, seed, limit)
    _check_img_max(img_max, imbalance, keep_meta_in_train)
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
    shared = keep_meta_in_train or (img_max == "all" and source == TRAIN)
    leave, clusters = int(source == TRAIN and not shared), {}
    if parse_meta(meta).per == "cluster":
        found = choose_clustered(dataset, parse_meta(meta).count, part[source], seed, leave)
        chosen, clusters = found.rows, {"count": CLUSTERS, "features": found.features, "missing": found.missing}
    else:
        chosen = choose(dataset, meta, part[source], seed, leave)
    if source == VAL or img_max != "all":
        part[source] = np.setdiff1d(part[source], chosen, assume_unique=True)
    most = check_img_max(img_max)
    train = part[TRAIN] if imbalance is None else thin(dataset, part[TRAIN], imbalance, seed, chosen, most)
    if keep_meta_in_train:
        train = np.concatenate([train, chosen])
    train = samples.ascending(train)
    label = samples.label[train]
    if noise is not None:
        label = np.where(np.isin(train, chosen), label, noisy_labels(dataset, train, noise, noise_seed))
    if limit is not None:
        kept = np.isin(train, _spread(dataset, train, limit, seed))
        train, label = train[kept], label[kept]

    val, test = samples.ascending(part[VAL]), part[TEST]
    report = _report(dataset, train, chosen, label) | {"val": len(val), "test": len(test)}
    if shared:
        report["meta_in_train"] = int(np.isin(chosen, train).sum())
    if clusters:
        report["meta_missing"] = sum(found.missing)
    return Split(train, chosen, val, test, label, report, clusters)


def _check(meta_from: str, keep_meta_in_train: bool, noise_seed: int, seed: int, limit: int | None) -> None:
    if meta_from not in META_FROM:
        raise UsageError(f"meta from {meta_from!r}: choose one of {', '.join(META_FROM)}")
    if keep_meta_in_train and meta_from != "train":
        raise UsageError("keep meta in train: the meta set comes from val; drop one of the two settings")
    if seed < 0 or not 0 <= noise_seed <= MAX_SEED:
        raise UsageError(f"seed {seed}, noise seed {noise_seed}: expected >= 0, the noise seed at most {MAX_SEED}")
    if limit is not None and limit < 1:
        raise UsageError(f"limit {limit}: expected at least one training picture")


def check_img_max(text: str) -> int | None:
    """Return the size of the largest class if it is given as a number, else None. Raises UsageError for other text."""
    if text in IMG_MAX:
        return None
    if not (text.isascii() and text.isdigit() and int(text)):
        raise UsageError(f"--img-max {text!r}: choose one of {', '.join(IMG_MAX)}, or a number of pictures")
    return int(text)


def _check_img_max(img_max: str, imbalance: float | None, keep_meta_in_train: bool) -> None:
    check_img_max(img_max)
    if img_max != "rest" and imbalance is None:
        raise UsageError(f"--img-max {img_max}: it says where a long tail starts; give its --imbalance, such as 100")
    if img_max == "all" and keep_meta_in_train:
        raise UsageError(
            "--img-max all: its counts are those of a training set without added meta pictures; drop it or"
            " --keep-meta-in-train"
        )


def even_shares(sizes: np.ndarray, total: int) -> np.ndarray:
    """Return how many of `total` each cell gives, int64 (n,), as evenly as its size allows, first cells first."""
    level = bisect_right(range(int(sizes.max()) + 1), total, key=lambda top: int(np.minimum(sizes, top).sum())) - 1
    shares = np.minimum(sizes, level)
    shares[np.flatnonzero(sizes > level)[: total - shares.sum()]] += 1
    return shares


def _spread(dataset: Dataset, rows: np.ndarray, limit: int, seed: int) -> np.ndarray:
    """Draw at most `limit` rows, spread evenly over the groups, without groups over the classes."""
    what, cells = ("group", dataset.samples.group) if dataset.group_names else ("class", dataset.samples.label)
    sizes = np.bincount(cells[rows])
    if limit < (sizes > 0).sum():
        raise UsageError(f"limit {limit}: fewer than one training picture a {what}; use {(sizes > 0).sum()} or more")
    return np.concatenate(
        [
            rng_for(seed, cell, "limit").permutation(rows[cells[rows] == cell])[:share]
            for cell, share in enumerate(even_shares(sizes, limit))
        ]
    )


def _report(dataset: Dataset, train: np.ndarray, chosen: np.ndarray, label: np.ndarray) -> dict[str, int | list[int]]:
    clean, classes = dataset.samples.label, len(dataset.class_names)
    report: dict[str, int | list[int]] = {
        "train": len(train),
        "meta": len(chosen),
        "train_per_class": np.bincount(clean[train], minlength=classes).tolist(),
        "meta_per_class": np.bincount(clean[chosen], minlength=classes).tolist(),
        "wrong_labels": int((label != clean[train]).sum()),
    }
    if dataset.group_names:
        group = dataset.samples.group[train]
        report["train_per_group"] = np.bincount(group, minlength=len(dataset.group_names)).tolist()
    return report
