"""What one split says besides accuracies: macro F1, AUROC, calibration; each on the CPU, in float64."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

BINS = 15  # of calibration, as Guo et al. 2017
MOST_ODDS = 1e4  # in logs, for infinite ones: those of float32 are within 104


class Sure(NamedTuple):
    """How sure a network is of pictures, on the CPU. of_predicted: float32 (n,) in [0, 1], the probability of the class
    that it predicts; log_odds: float64 (n,), log of the probability of class 1 over that of class 0, of two classes
    only: it tells apart what rounds to 0 or 1. None for more.
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
    """Return what there is of it."""
    return (sure.of_predicted,) if sure.log_odds is None else (sure.of_predicted, sure.log_odds)


def join_sure(parts: Iterable[Sure]) -> Sure:
    """Return parts of a stream as one; at least one."""
    of_predicted, log_odds = zip(*parts, strict=True)
    return Sure(torch.cat(of_predicted), None if log_odds[0] is None else torch.cat(log_odds))


def mean_of(shares: Iterable[float | None]) -> float:
    """Return the mean of those shares that there are, each counted alike; at least one."""
    return statistics.fmean(share for share in shares if share is not None)


def macro_f1(predicted: Tensor, label: Tensor) -> float:
    """Return the mean of F1 over the classes that have pictures, 0 for one of which none is right.

    predicted, label: int64 (n,), n >= 1. Source: scikit-learn's f1_score.
    """
    from sklearn.metrics import f1_score  # its import takes a second

    known = label.cpu().numpy()
    present = label.unique().cpu().numpy()
    return float(f1_score(known, predicted.cpu().numpy(), labels=present, average="macro", zero_division=0))


def auroc(log_odds: Tensor | None, label: Tensor) -> float | None:
    """Return the area under the ROC curve of two classes: how often a picture of class 1 gets higher odds for it than
    one of class 0, ties counted half.

    log_odds: as `Sure` has it; label: int64 (n,), 0 or 1. None for more classes, for pictures of one class alone, and
    where odds are not a number. Source: scikit-learn's roc_auc_score.
    """
    if log_odds is None or len(label.unique()) < 2 or log_odds.isnan().any():
        return None
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(label.cpu().numpy(), log_odds.clamp(-MOST_ODDS, MOST_ODDS).numpy()))


def calibration_error(right: Tensor, of_predicted: Tensor) -> float | None:
    """Return the expected calibration error: the mean over pictures of |accuracy - mean probability| of their bin.

    right: bool (n,); of_predicted: as `Sure` has it. BINS bins of one width over (0, 1], the upper end in each. None
    where a probability is not a number. Source: Guo et al. 2017, eq. (3).
    """
    sure = of_predicted.double()
    if sure.isnan().any():
        return None
    place = (sure * BINS).ceil().long().sub(1).clamp(0, BINS - 1)
    gaps = torch.zeros(BINS, dtype=torch.float64).index_add(0, place, right.cpu().double() - sure)
    return math.fsum(gaps.abs().tolist()) / len(sure)
