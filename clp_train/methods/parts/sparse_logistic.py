"""Logistic regression with an l1 penalty, solved until it has converged."""

from __future__ import annotations

import numpy as np

OPTIONS = {"maxiter": 20_000, "maxfun": 40_000, "maxcor": 20, "ftol": 1e-13, "gtol": 1e-6}
"""Options of L-BFGS-B. At the optimum slopes are below gtol; ftol stops a search that rounding has ended before."""


def fit_sparse(design: np.ndarray, label: np.ndarray, classes: int, strength: float) -> np.ndarray:
    """Return the weights W, float64 (C, A), that minimise |W|_1 + strength * the sum of cross entropies of W x.

    design: float64 (n, A), a column of ones for the biases among them, which count in the penalty too; label: int64
    (n,). W is the difference of two parts that are not negative, so the penalty is their sum and L-BFGS-B applies. For
    two classes, the difference of the rows is the optimum of the form with one row and labels of +-1, which has the
    same penalty. Source: the objective of LIBLINEAR; the solver is ours.
    """
    from scipy.optimize import Bounds, minimize

    shape = classes, design.shape[1]
    size, own = shape[0] * shape[1], np.eye(classes)[label]

    def objective(parts: np.ndarray) -> tuple[float, np.ndarray]:
        logits = design @ (parts[:size] - parts[size:]).reshape(shape).T
        shifted = logits - logits.max(1, keepdims=True)
        total = np.exp(shifted).sum(1, keepdims=True)
        losses = np.log(total[:, 0]) - (shifted * own).sum(1)
        slope = strength * ((np.exp(shifted) / total - own).T @ design).ravel()
        return parts.sum() + strength * losses.sum(), np.concatenate([1 + slope, 1 - slope])

    start, bounds = np.zeros(2 * size), Bounds(0, np.inf)
    found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options=OPTIONS).x
    weight: np.ndarray = (found[:size] - found[size:]).reshape(shape)
    return weight
