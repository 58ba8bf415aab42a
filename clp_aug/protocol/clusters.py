"""Clusters within a class, in place of unknown attributes, and meta pictures that are spread over them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from clp_aug.common.progress import counting
from clp_aug.contract.seeds import rng_for
from clp_aug.datasets.base import Dataset
from clp_aug.protocol.features import default_features, features_of, unwatched

CLUSTERS = 6
RESTARTS = 4


def cluster(features: np.ndarray, clusters: int, seed: int, label: int) -> np.ndarray:
    """Return the cluster of each picture of one class, int64 (n,), the largest cluster first.

    features: float32 (n, A), n >= 1; label: of the class; it decides the starts, together with the seed. There are
    fewer clusters if fewer pictures differ. Source: k-means (Lloyd 1982) by scikit-learn, as in Tang et al. 2022.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    state = int(rng_for(seed, label, "clusters").integers(1 << 32))
    means = KMeans(min(clusters, len(features)), n_init=RESTARTS, random_state=state)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different pictures than clusters: see the docstring
        assigned = means.fit_predict(features)
    sizes = np.bincount(assigned)
    by_size = np.argsort(-sizes, kind="stable")
    rank = np.empty(len(sizes), np.int64)
    rank[by_size] = np.arange(len(sizes))
    return rank[assigned]


@dataclass(frozen=True, eq=False)
class Clustered:
    """Meta pictures spread over clusters. rows: int64, in the order of their ids; features: name of the clustered
    features; missing: number of pictures that each class could not give.
    """

    rows: np.ndarray
    features: str
    missing: list[int]


def choose_clustered(
    dataset: Dataset,
    count: int,
    candidates: np.ndarray,
    seed: int,
    leave: int = 0,
    features: str | None = None,
    watch: Callable[[int], None] = unwatched,
) -> Clustered:
    """Draw `count` pictures from each of six clusters of each class, or all if there are fewer.

    candidates: rows to draw from, in any order; seed: >= 0; leave: number of candidates of each class that must remain;
    features: of `features.FEATURES`, None for the best available; watch: called with the number of pictures done.
    Decodes every candidate. Missing pictures of a small cluster are not taken from another one, so the meta set is as
    balanced over attributes as possible. Source: section 4.4 of the paper; the rule for small clusters is ours.
    """
    name = features or default_features()
    ordered = dataset.samples.ascending(candidates)
    watch = counting("READ features", len(ordered)) if watch is unwatched else watch
    vectors, labels = features_of(dataset, ordered, name, watch), dataset.samples.label[ordered]
    picks, missing = [], []
    for label in range(len(dataset.class_names)):
        class_rows = ordered[labels == label]
        taken: list[int] = []
        if len(class_rows):
            clusters = cluster(vectors[labels == label], CLUSTERS, seed, label)
            rng = rng_for(seed, label, "meta")
            drawn = [rng.permutation(class_rows[clusters == k])[:count] for k in range(clusters.max() + 1)]
            turns = sorted((turn, k, row) for k, part in enumerate(drawn) for turn, row in enumerate(part.tolist()))
            taken = [row for _, _, row in turns][
                : max(len(class_rows) - leave, 0)
            ]  # if some must stay, clusters give in turn
        picks += taken
        missing.append(CLUSTERS * count - len(taken))
    return Clustered(ordered[np.isin(ordered, picks)], name, missing)
