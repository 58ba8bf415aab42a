"""Losses for labels that may be wrong: normalised and passive ones, a corrected one, one of mutual information.

Unless said otherwise: logits float (n, C), C >= 2; label int64 (n,); a loss returns one number per picture, (n,).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LOG_ZERO = math.log(1e-4)  # the authors of APL use this for log 0 at classes other than the label


def at_label(values: Tensor, label: Tensor) -> Tensor:
    """Return each row's entry at its label: (n, C), (n,) -> (n,)."""
    return values.gather(1, label[:, None]).squeeze(1)


def normalised_cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    """NCE: log p_y / sum_k log p_k, in [0, 1]. Source: Ma et al. 2020, their eq. for the normalised cross entropy."""
    log_p = logits.log_softmax(1)
    return at_label(log_p, label) / log_p.sum(1)


def normalised_focal(logits: Tensor, label: Tensor, gamma: float) -> Tensor:
    """NFL: FL(y) / sum_k FL(k) with FL(k) = -(1 - p_k)^gamma log p_k, in [0, 1]. Source: Ma et al. 2020.

    Differentiated as written: the factors (1 - p_k)^gamma are not held constant.
    """
    log_p = logits.log_softmax(1)
    # where p rounds to 1 the slope of (1 - p)^gamma would be infinite for gamma < 1
    others = (1 - log_p.exp()).clamp(min=torch.finfo(logits.dtype).eps)
    focal = others**gamma * log_p
    return at_label(focal, label) / focal.sum(1)


def mean_absolute_error(logits: Tensor, label: Tensor) -> Tensor:
    """MAE: 1 - p_y, in [0, 1], half of the L1 distance to the one-hot label. Source: Ma et al. 2020."""
    return -at_label(logits.log_softmax(1), label).expm1()


def reverse_cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    """RCE: -sum_k p_k log q_k with q the one-hot label and log 0 = log 1e-4, which is 9.21 (1 - p_y).

    Source: Wang et al. 2019 (symmetric cross entropy); the value for log 0 is of Ma et al. 2020.
    """
    return -LOG_ZERO * mean_absolute_error(logits, label)


def symmetric_divergence(logits: Tensor, others: Tensor) -> Tensor:
    """KL(p || q) + KL(q || p) of two classifiers' probabilities, >= 0; a graph to both. others: (n, C).

    Source: the agreement term of Wei et al. 2020.
    """
    log_p, log_q = logits.log_softmax(1), others.log_softmax(1)
    return ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(1)


def mean_of_smallest(losses: Tensor, count: int) -> Tensor:
    """Return (n,): 1 / count at the `count` smallest of losses (n,), the first of equal ones, and 0 elsewhere."""
    rows = losses.detach().argsort(stable=True)[:count]
    return torch.zeros_like(losses).index_fill_(0, rows, 1 / count)


def corrected_cross_entropy(logits: Tensor, label: Tensor, transition: Tensor) -> Tensor:
    """Return -log sum_k p_k T[k, y]: cross entropy of the probabilities after the noise.

    transition: T, (C, C), rows of true classes, each summing to 1. Source: Hendrycks et al. 2018, forward correction.
    """
    log_t = transition.to(logits).clamp(min=torch.finfo(logits.dtype).tiny).log()
    return -(logits.log_softmax(1) + log_t.T[label]).logsumexp(1)


def estimate_transition(probabilities: Tensor, label: Tensor, classes: int) -> Tensor:
    """Return T-hat, (C, C): row k is the mean of the probabilities, (n, C), of clean pictures of class k.

    label: int64 (n,), clean, every class at least once. Source: Hendrycks et al. 2018.
    """
    sums = probabilities.new_zeros(classes, probabilities.shape[1]).index_add_(0, label, probabilities)
    return sums / torch.bincount(label, minlength=classes)[:, None]


def determinant_loss(logits: Tensor, label: Tensor) -> Tensor:
    """Return -log |det U|, a scalar, with U = Y^T P / n: joint distribution of labels and predictions of a batch.

    Y: the labels, one-hot. inf if U is singular, as for a class without pictures. Noise that depends only on the class
    multiplies U by its matrix and so adds a constant. Source: L_DMI of Xu et al. 2019; the logarithm of the determinant
    is computed directly, so no small number has to be added.
    """
    p = logits.softmax(1)
    joint = p.new_zeros(p.shape[1], p.shape[1]).index_add(0, label, p) / len(label)
    return -torch.linalg.slogdet(joint).logabsdet
