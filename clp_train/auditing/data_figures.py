"""AUDIT DATA: how well backgrounds predict the label, compared with chance and with the box alone, with intervals.

No classifier has seen the picture that it predicts. Intervals are percentiles of resamples. Each resample draws as many
pictures of a class as there are, so the balanced accuracy is over the same classes in every resample.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from clp_aug.contract.seeds import rng_for
from clp_train.auditing.bootstrap import RESAMPLES, interval
from clp_train.auditing.data_judge import evidence, log_prior, looks_like
from clp_train.auditing.estimates import Estimate

LEAST = 20  # pictures that a class needs for its accuracy to count


@dataclass(frozen=True)
class DataFigures:
    """How well pictures without their objects predict the label. C classes, shares in [0, 1].

    counts: int64 (C,), training pictures; counted: bool (C,), classes with LEAST pictures or more, over which balanced
    accuracies are means; chance: the balanced accuracy of guessing, 1 / classes that have pictures; background:
    balanced accuracy from the background, without class priors; plain: accuracy from the background, with class priors;
    largest: share of the largest class, the value of `plain` for guessing; recall: (C,), of each class; gain:
    information about the label beyond the class priors, in nats per picture; control: balanced accuracy from place and
    size of the box alone; beyond: background minus the better of control and chance.
    """

    counts: np.ndarray
    counted: np.ndarray
    chance: float
    background: Estimate
    plain: Estimate
    largest: float
    recall: tuple[Estimate, ...]
    gain: Estimate
    control: Estimate
    beyond: Estimate


def data_figures(
    log_p: Tensor, box_log_p: Tensor, label: Tensor, seed: int = 0, resamples: int = RESAMPLES
) -> DataFigures:
    """Return the figures of log P(class | background) and log P(class | box), float32 (N, C), both out of fold.

    label: int64 (N,); seed: of the resamples. Source: ours.
    """
    classes = log_p.shape[1]
    truth = label.numpy()
    counts = np.bincount(truth, minlength=classes)
    columns = {
        "right": looks_like(evidence(log_p, label)) == truth,
        "by box": looks_like(evidence(box_log_p, label)) == truth,
        "plain": log_p.argmax(1).numpy() == truth,
        "gain": log_p.gather(1, label[:, None])[:, 0].numpy() - log_prior(label, classes).numpy()[truth],
    }
    counted, chance = counts >= LEAST, 1 / max(1, int((counts > 0).sum()))
    parts = [class_means(columns, truth, counts, None)]
    rng = rng_for(seed, 0, "audit/data")
    parts += [class_means(columns, truth, counts, rng) for _ in range(resamples)]
    mean = {name: np.stack([part[name] for part in parts]) for name in columns}  # (1 + R, C), NaN without pictures
    share = counts / max(1, counts.sum())
    both = {name: balanced(mean[name], counted) for name in ("right", "by box")}
    overall = {name: np.nansum(mean[name] * share, 1) for name in ("plain", "gain")}
    n = len(truth)
    return DataFigures(
        counts, counted, chance, estimate(both["right"], n), estimate(overall["plain"], n),
        float(share.max()), tuple(estimate(mean["right"][:, c], int(counts[c])) for c in range(classes)),
        estimate(overall["gain"], n), estimate(both["by box"], n),
        estimate(both["right"] - np.maximum(both["by box"], chance), n),
    )  # fmt: skip


def class_means(
    columns: Mapping[str, np.ndarray], truth: np.ndarray, counts: np.ndarray, rng: np.random.Generator | None
) -> dict[str, np.ndarray]:
    """Return the mean of each column in each class, float64 (C,), NaN for a class without pictures.

    rng: draws as many pictures of each class as there are, with replacement; None uses each picture once.
    """
    order = np.argsort(truth, kind="stable")
    if rng is not None:
        of_class = truth[order]
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        order = order[starts[of_class] + (rng.random(len(truth)) * counts[of_class]).astype(np.int64)]
    drawn = truth[order]
    with np.errstate(invalid="ignore"):
        return {
            name: np.bincount(drawn, values[order].astype(np.float64), len(counts)) / counts
            for name, values in columns.items()
        }


def balanced(recalls: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Return the mean recall over the counted classes, bool (C,), of each row of recalls (R, C); NaN without any."""
    found: np.ndarray = recalls[:, counted].mean(1) if counted.any() else np.full(len(recalls), np.nan)
    return found


def estimate(values: np.ndarray, pictures: int) -> Estimate:
    """Return an estimate of a value and its resamples, float64 (1 + R,), first the value itself."""
    if not np.isfinite(values[0]):
        return Estimate(None, None, None, pictures)
    low, high = interval(values[1:, None])[:, 0].tolist()
    known = np.isfinite(low)
    return Estimate(float(values[0]), low if known else None, high if known else None, pictures)
