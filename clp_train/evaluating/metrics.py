"""EVALUATE: accuracy over all, per class, per group and stratum; the worst of them; and the figures of `scores`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from clp_train.algorithm.losses import REMEDY, DivergedError
from clp_train.evaluating.outputs import BATCH, gathered, logits_of, outputs
from clp_train.evaluating.scores import Sure, auroc, calibration_error, known_of, macro_f1, mean_of, sure_of
from clp_train.models.parts import Classifier, Output
from clp_train.pictures.types import Pictures

NONE: Mapping[str, Tensor] = {}


@dataclass(frozen=True)
class Metrics:
    """Accuracies in [0, 1] of one split; None for a class or group without pictures.

    average: share of all pictures that are right (top-1); weighted_average: groups weighted by their share of the
    train split, as published Waterbirds averages are; worst: the lowest of the non-empty groups; precision: as
    `mean_precision` says; strata: accuracy in parts that only reports use, by name; worst_class: the lowest of the
    non-empty classes; balanced, group_mean: the unweighted mean over non-empty classes, or groups; macro_f1, auroc,
    ece: see `scores`; the last two are None without probabilities, auroc also for more than two classes.
    """

    average: float
    weighted_average: float
    worst: float
    per_class: tuple[float | None, ...]
    per_group: tuple[float | None, ...]
    class_counts: tuple[int, ...]
    group_counts: tuple[int, ...]
    precision: float | None = None
    strata: Mapping[str, float | None] = field(default_factory=dict)
    worst_class: float | None = None
    balanced: float | None = None
    group_mean: float | None = None
    macro_f1: float | None = None
    auroc: float | None = None
    ece: float | None = None


def shares(right: Tensor, member: Tensor, parts: int) -> tuple[list[float | None], list[int]]:
    """Return the share of right pictures and the number of pictures of each part. right: bool (n,); member: int64 (n,)
    in [0, parts).
    """
    counts = torch.bincount(member, minlength=parts).tolist()
    hits = torch.bincount(member[right], minlength=parts).tolist()
    return [h / n if n else None for h, n in zip(hits, counts, strict=True)], counts


def mean_precision(predicted: Tensor, label: Tensor, classes: int) -> float:
    """Return the mean, over classes with pictures, of right / predicted as the class; 0 for a class never predicted.

    predicted, label: int64 (n,), n >= 1, in [0, classes). Source: the second metric of Tang et al. 2022; macro
    precision over those classes.
    """
    right = torch.bincount(label[predicted == label], minlength=classes).double()
    predictions = torch.bincount(predicted, minlength=classes).double()
    present = torch.bincount(label, minlength=classes) > 0
    return float((right / predictions.clamp(min=1))[present].mean())


def measure(
    predicted: Tensor,
    label: Tensor,
    group: Tensor,
    classes: int,
    train_counts: list[int],
    strata: Mapping[str, Tensor] = NONE,
    sure: Sure | None = None,
) -> Metrics:
    """Return the metrics of predictions. predicted, label, group: int64 (n,), n >= 1.

    train_counts: pictures of each group in the train split. A group without pictures here has no weight. If no group
    here has training pictures, all weights are equal. strata: name -> which pictures are in it, bool (n,); sure: of the
    predictions, None if their probabilities are unknown.
    """
    right = predicted == label
    per_class, class_counts = shares(right, label, classes)
    per_group, group_counts = shares(right, group, len(train_counts))
    present = {g: accuracy for g, accuracy in enumerate(per_group) if accuracy is not None}
    weights = {g: train_counts[g] for g in present}
    if not any(weights.values()):
        weights = dict.fromkeys(present, 1)
    return Metrics(
        average=float(right.double().mean()),
        weighted_average=sum(w * present[g] for g, w in weights.items()) / sum(weights.values()),
        worst=min(present.values()),
        per_class=tuple(per_class),
        per_group=tuple(per_group),
        class_counts=tuple(class_counts),
        group_counts=tuple(group_counts),
        precision=mean_precision(predicted, label, classes),
        strata={name: float(right[part].double().mean()) if part.any() else None for name, part in strata.items()},
        worst_class=min(accuracy for accuracy in per_class if accuracy is not None),
        balanced=mean_of(per_class),
        group_mean=mean_of(per_group),
        macro_f1=macro_f1(predicted, label),
        auroc=None if sure is None else auroc(sure.log_odds, label),
        ece=None if sure is None else calibration_error(right, sure.of_predicted),
    )


def predict(network: Classifier, images: Tensor, judge: Callable[[Output], Tensor] = logits_of) -> Tensor:
    """Return the predicted classes, int64 (N,), of uint8 (N, 3, H, W) or of features, on their device.

    judge: as in `outputs`. The network is left in evaluation mode. Raises DivergedError for a logit that is NaN,
    because argmax would return a class for it.
    """
    return predict_parts(network, images.split(BATCH), len(images), judge).to(images.device)


def predict_parts(
    network: Classifier, images: Iterable[Tensor], rows: int, judge: Callable[[Output], Tensor] = logits_of
) -> Tensor:
    """Return the same for parts of a stream of `rows` pictures, on the network's device."""
    predicted = ((logits.argmax(1),) for logits in checked_logits(network, images, judge))
    return gathered(predicted, rows)[0]


def checked_logits(
    network: Classifier, images: Iterable[Tensor], judge: Callable[[Output], Tensor]
) -> Iterator[Tensor]:
    """Yield the final logits, (n, C), of parts of a stream. images, judge: as in `outputs`.

    Raises DivergedError for a logit that is NaN.
    """
    for out in outputs(network, images, judge):
        if out.logits.isnan().any():
            raise DivergedError(f"the network's logits are nan; {REMEDY}")
        yield out.logits


def probabilities(
    network: Classifier, images: Iterable[Tensor], judge: Callable[[Output], Tensor], scale: float
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the predicted classes, int64 (n,), and the probabilities of all, float32 (n, C), of parts of a stream, on
    the CPU.

    images: parts, uint8 (n, 3, H, W) or features; judge: as in `outputs`; scale: see `Method`. Raises
    DivergedError for a logit that is NaN.
    """
    for logits in checked_logits(network, images, judge):
        yield logits.argmax(1).cpu(), (scale * logits.float()).softmax(1).cpu()


def evaluate(
    network: Classifier,
    pictures: Pictures,
    classes: int,
    train_counts: list[int],
    judge: Callable[[Output], Tensor] = logits_of,
    strata: Mapping[str, Tensor] = NONE,
    scale: float = 1.0,
) -> Metrics:
    """Return the metrics of a network on one split; the network is left in evaluation mode.

    judge, scale: as in `probabilities`; strata: as in `measure`.
    """
    parts = probabilities(network, pictures.images.split(BATCH), judge, scale)
    found = ((predicted, *known_of(sure_of(predicted, shares))) for predicted, shares in parts)
    of_all, *sure = gathered(found, len(pictures))
    of_all = of_all.to(pictures.label.device)
    return measure(of_all, pictures.label, pictures.group, classes, train_counts, strata, Sure(*sure))


def balanced_accuracy(
    network: Classifier, pictures: Pictures, classes: int, judge: Callable[[Output], Tensor] = logits_of
) -> float:
    """Return the mean accuracy over classes with pictures; judge: as in `predict`."""
    right = predict(network, pictures.images, judge) == pictures.label
    return mean_of(shares(right, pictures.label, classes)[0])
