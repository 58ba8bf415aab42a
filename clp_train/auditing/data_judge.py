"""AUDIT DATA: what a background says of the label, by a classifier that has not seen the picture.

The classifier is the one that CLP's background start uses (`clp_train.backgrounds.prior`): multinomial logistic
regression, each picture judged by a fit to other folds, with the weight decay that is best on pictures not seen.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from clp_train.backgrounds.prior import DECAYS, fit_logistic, folds, never_zero

HALF = 0.5  # picture a class that the priors are counted with besides, as those of the fit are


def judge_others(features: Tensor, label: Tensor, others: Tensor, classes: int, rng: np.random.Generator) -> Tensor:
    """Return log P(class | background) of other pictures than those learnt from, float32 (M, C).

    features: float32 (N, A) of those learnt from; label: int64 (N,); others: float32 (M, A). The classifier is fitted
    to all of the N; its weight decay is that of DECAYS with the lowest loss on one fold, by a fit to the others. rng:
    draws the folds. Source: ours, as `background_log_prior`.
    """
    if not len(others):
        return torch.zeros(0, classes)
    mean = features.mean(0)
    scale = (features - mean).square().sum(1).mean().sqrt().clamp(min=1e-12)
    x, y = (features - mean) / scale, (others - mean) / scale
    held_out = torch.from_numpy(folds(label.numpy(), rng) == 0)
    decay = best_decay(x, label, held_out, classes)
    weight, bias = fit_logistic(x, label, classes, decay)
    return mixed(y @ weight.T + bias, label)


def best_decay(x: Tensor, label: Tensor, held_out: Tensor, classes: int) -> float:
    """Return the decay of DECAYS with the lowest loss on held-out pictures, bool (N,), the largest where none are."""
    if not held_out.any() or held_out.all():
        return DECAYS[-1]

    def loss(decay: float) -> float:
        weight, bias = fit_logistic(x[~held_out], label[~held_out], classes, decay)
        return F.nll_loss(mixed(x[held_out] @ weight.T + bias, label), label[held_out]).item()

    return min(DECAYS, key=loss)


def mixed(logits: Tensor, label: Tensor) -> Tensor:
    """Return log probabilities of logits (M, C) with a little of the class priors of labels, int64 (N,)."""
    return never_zero(logits.softmax(1), label)


def log_prior(label: Tensor, classes: int) -> Tensor:
    """Return the log shares of the classes among labels, int64 (N,): float32 (C,), each counted half a picture more."""
    counts = torch.bincount(label, minlength=classes).float() + HALF
    return (counts / counts.sum()).log()


def evidence(log_p: Tensor, label: Tensor) -> Tensor:
    """Return what a background adds to each class, log P(c | background) - log P(c), in nats: float32 (M, C).

    log_p: float32 (M, C); label: int64 (N,), of the pictures learnt from; a class without any gets -inf. Without the
    priors taken off, the largest class would be what every doubtful background looks like. Source: ours.
    """
    classes = log_p.shape[1]
    absent = torch.bincount(label, minlength=classes) == 0
    return (log_p - log_prior(label, classes)).masked_fill(absent, -torch.inf)


def looks_like(shift: Tensor) -> np.ndarray:
    """Return the class that each background speaks for most, int64 (M,). shift: as `evidence` returns it."""
    found: np.ndarray = shift.argmax(1).numpy()
    return found


def for_label(shift: Tensor, label: Tensor) -> np.ndarray:
    """Return what each background adds to its picture's own label, int64 (M,), in nats, float64 (M,): below 0 it argues
    against it.
    """
    found: np.ndarray = shift.gather(1, label[:, None])[:, 0].double().numpy()
    return found


def box_columns(box: np.ndarray, size: int) -> Tensor:
    """Return place and size of boxes, int64 (N, 4), in pictures of size x size: float32 (N, 8), each column of mean 0
    and mean square 1.

    x0, y0, x1, y1 and area as shares of the picture, the logarithms of area and aspect, and the distance of the box
    from the picture's centre. Source: ours, the control of what boxes alone say of the label.
    """
    x0, y0, x1, y1 = (box.astype(np.float64) / size).T
    width, height = np.maximum(x1 - x0, 1 / size), np.maximum(y1 - y0, 1 / size)
    area = width * height
    away = np.hypot((x0 + x1) / 2 - 0.5, (y0 + y1) / 2 - 0.5)
    columns = np.stack([x0, y0, x1, y1, area, np.log(area), np.log(width / height), away], 1)
    columns -= columns.mean(0)
    spread = np.sqrt((columns**2).mean(0))
    return torch.from_numpy((columns / np.where(spread > 1e-9, spread, 1)).astype(np.float32))
