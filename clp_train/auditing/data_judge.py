"""AUDIT DATA: the evidence of a background for each label, from a classifier that has not seen the picture.

CLP's background start uses the same classifier (`clp_train.backgrounds.prior`): multinomial logistic regression. A fit
to other folds judges each picture, with the weight decay that is best on unseen pictures.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from clp_train.backgrounds.prior import DECAYS, fit_logistic, folds, never_zero

HALF = 0.5  # picture per class that is added to the counts of the priors, as in the fit


def judge_others(features: Tensor, label: Tensor, others: Tensor, classes: int, rng: np.random.Generator) -> Tensor:
    """Return log P(class | background) of pictures that were not trained on, float32 (M, C).

    features: float32 (N, A) of the training pictures; label: int64 (N,); others: float32 (M, A). The classifier is
    fitted to all N; its weight decay is the one of DECAYS with the lowest loss on one fold after a fit to the others.
    rng: draws the folds. Source: ours, as `background_log_prior`.
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
    """Return the decay of DECAYS with the lowest loss on held-out pictures, bool (N,), the largest without any."""
    if not held_out.any() or held_out.all():
        return DECAYS[-1]

    def loss(decay: float) -> float:
        weight, bias = fit_logistic(x[~held_out], label[~held_out], classes, decay)
        return F.nll_loss(mixed(x[held_out] @ weight.T + bias, label), label[held_out]).item()

    return min(DECAYS, key=loss)


def mixed(logits: Tensor, label: Tensor) -> Tensor:
    """Return log probabilities of logits (M, C), mixed with a small share of the class priors of labels, int64 (N,)."""
    return never_zero(logits.softmax(1), label)


def log_prior(label: Tensor, classes: int) -> Tensor:
    """Return the log shares of the classes among labels, int64 (N,): float32 (C,), with half a picture added to each
    class.
    """
    counts = torch.bincount(label, minlength=classes).float() + HALF
    return (counts / counts.sum()).log()


def evidence(log_p: Tensor, label: Tensor) -> Tensor:
    """Return the evidence of each background for each class, log P(c | background) - log P(c), in nats: float32 (M, C).

    log_p: float32 (M, C); label: int64 (N,), of the training pictures; a class without pictures gets -inf. The priors
    are subtracted, because otherwise every doubtful background would look like the largest class. Source: ours.
    """
    classes = log_p.shape[1]
    absent = torch.bincount(label, minlength=classes) == 0
    return (log_p - log_prior(label, classes)).masked_fill(absent, -torch.inf)


def looks_like(shift: Tensor) -> np.ndarray:
    """Return the class with the most evidence from each background, int64 (M,). shift: as `evidence` returns it."""
    found: np.ndarray = shift.argmax(1).numpy()
    return found


def for_label(shift: Tensor, label: Tensor) -> np.ndarray:
    """Return the evidence of each background for its picture's own label, int64 (M,), in nats, float64 (M,): below 0 it
    speaks against the label.
    """
    found: np.ndarray = shift.gather(1, label[:, None])[:, 0].double().numpy()
    return found


def box_columns(box: np.ndarray, size: int) -> Tensor:
    """Return place and size of boxes, int64 (N, 4), in pictures of size x size: float32 (N, 8), each column with mean 0
    and mean square 1.

    x0, y0, x1, y1 and area as shares of the picture, the logarithms of area and aspect, and the distance of the box
    from the picture's centre. Source: ours, the control: what boxes alone say about the label.
    """
    x0, y0, x1, y1 = (box.astype(np.float64) / size).T
    width, height = np.maximum(x1 - x0, 1 / size), np.maximum(y1 - y0, 1 / size)
    area = width * height
    away = np.hypot((x0 + x1) / 2 - 0.5, (y0 + y1) / 2 - 0.5)
    columns = np.stack([x0, y0, x1, y1, area, np.log(area), np.log(width / height), away], 1)
    columns -= columns.mean(0)
    spread = np.sqrt((columns**2).mean(0))
    return torch.from_numpy((columns / np.where(spread > 1e-9, spread, 1)).astype(np.float32))
