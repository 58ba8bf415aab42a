"""Clusters of one class's pictures by scikit-learn's k-means; silhouettes choose their number."""

from __future__ import annotations

import warnings

import numpy as np

STARTS = 10
MOST_COMPARED = 5000  # pictures that a silhouette is computed on


def best_clusters(points: np.ndarray, most: int, state: int) -> tuple[np.ndarray, float]:
    """Return the cluster of each point, int64 (n,) from 0, and the silhouette, the mean over points, in [-1, 1].

    points: float (n, A), n >= 1; most: clusters, 2 or more; state: of the starts, in [0, 2^32). Of 2 to `most`
    clusters, the number with the highest silhouette is used, the smallest of equal ones; fewer if fewer points differ.
    Points that it cannot separate are one cluster with silhouette 1. Source: the authors of SPARE.
    """
    found, highest = np.zeros(len(points), np.int64), -np.inf
    for clusters in range(2, min(most, len(np.unique(points, axis=0)), len(points) - 1) + 1):
        assigned = k_means(points, clusters, state)
        apart = silhouette(points, assigned, state)
        if apart > highest:
            found, highest = assigned, apart
    return found, highest if highest > -np.inf else 1.0


def k_means(points: np.ndarray, clusters: int, state: int) -> np.ndarray:
    """Return the cluster of each point, int64 (n,), the best of `STARTS` starts; on one thread, so always the same."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # comes with scikit-learn

    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # points that are almost equal
        return KMeans(clusters, n_init=STARTS, random_state=state).fit_predict(points).astype(np.int64)


def silhouette(points: np.ndarray, assigned: np.ndarray, state: int) -> float:
    """Return the mean silhouette of at most `MOST_COMPARED` points, drawn by a state; -1 with one cluster."""
    from sklearn.metrics import silhouette_score

    if len(points) > MOST_COMPARED:
        rows = np.random.default_rng(state).permutation(len(points))[:MOST_COMPARED]
        points, assigned = points[rows], assigned[rows]
    if not 2 <= len(np.unique(assigned)) < len(points):
        return -1.0
    return float(silhouette_score(points, assigned))
