"""Figures of one split besides accuracies: macro F1, AUROC, calibration; all on the CPU, in float64."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

BINS = 15  # of calibration, as Guo et al. 2017
MOST_ODDS = 1e4  # replaces infinite logs: those of float32 are within 104


class Sure(NamedTuple):
    """How sure a network is of pictures, on the CPU. of_predicted: float32 (n,) in [0, 1], the probability of the class
    that it predicts; log_odds: float64 (n,), log of the probability of class 1 over that of class 0, for two classes
    only: it distinguishes probabilities that round to 0 or 1. None for more classes.
    """

    of_predicted: Tensor
    log_odds: Tensor | None = None


def sure_of(predicted: Tensor, shares: Tensor) -> Sure:
    """Return how sure a network is. predicted: int64 (n,); shares: float32 (n, C), probabilities; both on the CPU."""
    of_predicted = shares.gather(1, predicted[:, None])[:, 0]
    if shares.shape[1] != 2:
        return Sure(of_predicted)
    logs = shares.double().log()
    return Sure(of_predicted, logs[:, 1] - logs[:, 0])


def known_of(sure: Sure) -> tuple[Tensor, ...]:
    """Return its tensors that are not None."""
    return (sure.of_predicted,) if sure.log_odds is None else (sure.of_predicted, sure.log_odds)


def join_sure(parts: Iterable[Sure]) -> Sure:
    """Return parts of a stream as one; at least one."""
    of_predicted, log_odds = zip(*parts, strict=True)
    return Sure(torch.cat(of_predicted), None if log_odds[0] is None else torch.cat(log_odds))


def mean_of(shares: Iterable[float | None]) -> float:
    """Return the mean of the shares that are not None; at least one is."""
    return statistics.fmean(share for share in shares if share is not None)


def macro_f1(predicted: Tensor, label: Tensor) -> float:
    """Return the mean of F1 over the classes with pictures; F1 is 0 for a class without a right picture.

    predicted, label: int64 (n,), n >= 1. Source: scikit-learn's f1_score.
    """
    from sklearn.metrics import f1_score  # its import takes a second

    known = label.cpu().numpy()
    present = label.unique().cpu().numpy()
    return float(f1_score(known, predicted.cpu().numpy(), labels=present, average="macro", zero_division=0))


def auroc(log_odds: Tensor | None, label: Tensor) -> float | None:
    """Return the area under the ROC curve of two classes: how often a picture of class 1 has higher odds of class 1
    than a picture of class 0; ties count half.

    log_odds: see `Sure`; label: int64 (n,), 0 or 1. None for more classes, for pictures of one class only, and for odds
    that are not a number. Source: scikit-learn's roc_auc_score.
    """
    if log_odds is None or len(label.unique()) < 2 or log_odds.isnan().any():
        return None
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(label.cpu().numpy(), log_odds.clamp(-MOST_ODDS, MOST_ODDS).numpy()))


def calibration_error(right: Tensor, of_predicted: Tensor) -> float | None:
    """Return the expected calibration error: the mean over pictures of |accuracy - mean probability| of their bin.

    right: bool (n,); of_predicted: see `Sure`. There are BINS bins of equal width over (0, 1]; each includes its upper
    end. None if a probability is not a number. Source: Guo et al. 2017, eq. (3).
    """
    sure = of_predicted.double()
    if sure.isnan().any():
        return None
    place = (sure * BINS).ceil().long().sub(1).clamp(0, BINS - 1)
    gaps = torch.zeros(BINS, dtype=torch.float64).index_add(0, place, right.cpu().double() - sure)
    return math.fsum(gaps.abs().tolist()) / len(sure)
