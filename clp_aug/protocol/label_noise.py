"""Protocol: wrong training labels, drawn picture by picture from a transition matrix, with their own seed."""

from __future__ import annotations

import numpy as np

from clp_aug.contract.errors import UsageError
from clp_aug.contract.seeds import rng_for
from clp_aug.datasets.base import TRAIN, Dataset
from clp_aug.protocol.specs import NoiseSpec, parse_noise

THUMBNAIL, PER_CLASS, FOLDS = 8, 200, 5  # flip-similar: pixels per side, pictures per class, folds


def random_pairs(classes: int, noise_seed: int) -> np.ndarray:
    """Return the two other classes that each class flips to: int64 (C, 2).

    Drawn with numpy's legacy generator, class by class, so that seed 1 gives the table of Meta-Weight-Net's code
    (Shu et al. 2019); there all runs share seed 1. Needs C >= 3.
    """
    legacy = np.random.RandomState(noise_seed)
    everyone = np.arange(classes)
    return np.array([legacy.choice(everyone[everyone != c], 2, replace=False) for c in everyone], np.int64)


def similar_pairs(dataset: Dataset) -> np.ndarray:
    """Return the two classes with which each class is most easily confused: int64 (C, 2), most confused first.

    Measure: mean cross-validated probability of a linear discriminant with shrinkage, on 8 x 8 colour thumbnails of at
    most 200 training pictures per class, evenly spaced in the order of ids. So the table belongs to the data set, not
    to a run. Raises UsageError for a class with fewer than three training pictures (two to fit, one to predict). Needs
    C >= 3. Source: ours.
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    train = dataset.samples.ascending(np.flatnonzero(dataset.samples.split == TRAIN))
    per_class = []
    for label, name in enumerate(dataset.class_names):
        class_rows = train[dataset.samples.label[train] == label]
        if len(class_rows) < 3:
            raise UsageError(
                f"noise flip-similar: class {name!r} has {len(class_rows)} training pictures, expected >= 3; use flip"
            )
        per_class.append(
            class_rows[np.linspace(0, len(class_rows) - 1, min(len(class_rows), PER_CLASS)).astype(np.int64)]
        )
    folds = StratifiedKFold(min(FOLDS, *map(len, per_class)))
    rows = np.concatenate(per_class)
    thumbnails = np.stack([dataset.image(row, THUMBNAIL, "stretch").reshape(-1) for row in rows]) / 255.0
    labels = dataset.samples.label[rows]
    judge = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    likely = cross_val_predict(judge, thumbnails, labels, cv=folds, method="predict_proba")  # (n, C)
    confusion = np.stack([likely[labels == c].mean(0) for c in range(len(dataset.class_names))])
    np.fill_diagonal(confusion, -1)
    return np.argsort(-confusion, axis=1, kind="stable")[:, :2].astype(np.int64)


def transition(spec: NoiseSpec, classes: int, pairs: np.ndarray | None) -> np.ndarray:
    """Return T, float64 (C, C), rows sum to 1: T[y, k] is the probability that label y becomes k in training.

    uniform: p / C everywhere, plus 1 - p on the diagonal, so the label itself may be drawn again and the share of wrong
    labels is p (1 - 1 / C). flip: p / 2 for each class of the pair, pairs int (C, 2); with two classes p for the other
    one. Raises ValueError for flip without pairs. Source: Shu et al. 2019 ("uniform" and "flip2" of their code).
    """
    matrix = (1 - spec.ratio) * np.eye(classes)
    if spec.kind == "uniform":
        return matrix + spec.ratio / classes
    if classes == 2:
        return matrix + spec.ratio * (1 - np.eye(2))
    if pairs is None:
        raise ValueError("flip without its pairs; expected int (C, 2)")
    np.add.at(matrix, (np.arange(classes)[:, None], pairs), spec.ratio / 2)
    return matrix


def wrong_share(spec: NoiseSpec, classes: int) -> float:
    """Return the expected share of wrong labels, in [0, 1): p; for uniform, which may keep a label, p (1 - 1 / C)."""
    return spec.ratio * (1 - 1 / classes) if spec.kind == "uniform" else spec.ratio


def noisy_labels(dataset: Dataset, rows: np.ndarray, spec: str, noise_seed: int) -> np.ndarray:
    """Return the training labels of the rows: int64, one per row.

    Each picture draws with its own key, so its label does not depend on the order or on other pictures.
    `dataset.samples.label` keeps the clean labels. Raises UsageError for fewer than two classes with flip.
    """
    parsed = parse_noise(spec)
    classes = len(dataset.class_names)
    pairs = None
    if parsed.kind != "uniform":
        if classes < 2:
            raise UsageError(f"noise {spec}: flipping needs two classes, data set {dataset.name} has {classes}")
        if classes > 2:
            pairs = random_pairs(classes, noise_seed) if parsed.kind == "flip" else similar_pairs(dataset)
    cumulative = np.cumsum(transition(parsed, classes, pairs), axis=1)
    cumulative /= cumulative[:, -1:]  # the last value is exactly 1, above every draw
    clean, ids = dataset.samples.label[rows], dataset.samples.sample_id[rows]
    draws = [rng_for(noise_seed, int(sample_id), "label-noise").random() for sample_id in ids]
    return np.array(
        [np.searchsorted(cumulative[y], u, side="right") for y, u in zip(clean, draws, strict=True)], np.int64
    )
