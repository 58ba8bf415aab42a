"""EVALUATE: accuracy over all, per class, per group and stratum; the worst group; the mean precision of classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from clp_train.algorithm.losses import REMEDY, DivergedError
from clp_train.evaluating.outputs import BATCH, logits_of, outputs
from clp_train.models.parts import Classifier, Output
from clp_train.pictures.types import Pictures

NONE: Mapping[str, Tensor] = {}


@dataclass(frozen=True)
class Metrics:
    """Accuracies in [0, 1] of one split; None where a class or group has no picture.

    average: share of all pictures that are right (top-1); weighted_average: groups weighted by their share of the
    train split, as published Waterbirds averages are; worst: the lowest of the non-empty groups; precision: as
    `mean_precision` says; strata: accuracy in parts that only reports look at, by name.
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


def shares(right: Tensor, member: Tensor, parts: int) -> tuple[list[float | None], list[int]]:
    """Return the share of right ones and the count of each part. right: bool (n,); member: int64 (n,) in [0, parts)."""
    counts = torch.bincount(member, minlength=parts).tolist()
    hits = torch.bincount(member[right], minlength=parts).tolist()
    return [h / n if n else None for h, n in zip(hits, counts, strict=True)], counts


def mean_precision(predicted: Tensor, label: Tensor, classes: int) -> float:
    """Return the mean over the classes that have pictures of right / predicted as it, 0 for one never predicted.

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
) -> Metrics:
    """Return the metrics of predictions. predicted, label, group: int64 (n,), n >= 1.

    train_counts: pictures of each group in the train split. A group without pictures here has no weight; groups that
    all have none in training weigh the same. strata: name -> which pictures are in it, bool (n,).
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
    )


def predict(network: Classifier, images: Tensor, judge: Callable[[Output], Tensor] = logits_of) -> Tensor:
    """Return the predicted classes, int64 (N,), of uint8 (N, 3, H, W) or of features, on their device.

    judge: as in `outputs`. The network is left in evaluation mode. Raises DivergedError where a logit is NaN, whose
    argmax would pass for a class.
    """
    predicted = [logits.argmax(1) for logits in checked_logits(network, images.split(BATCH), judge)]
    return torch.cat(predicted).to(images.device)


def checked_logits(
    network: Classifier, images: Iterable[Tensor], judge: Callable[[Output], Tensor]
) -> Iterator[Tensor]:
    """Yield the logits to judge by, (n, C), of parts of a stream. images, judge: as in `outputs`.

    Raises DivergedError where one is NaN.
    """
    for out in outputs(network, images, judge):
        if out.logits.isnan().any():
            raise DivergedError(f"the network's logits are nan; {REMEDY}")
        yield out.logits


def evaluate(
    network: Classifier,
    pictures: Pictures,
    classes: int,
    train_counts: list[int],
    judge: Callable[[Output], Tensor] = logits_of,
    strata: Mapping[str, Tensor] = NONE,
) -> Metrics:
    """Return the metrics of a network on one split; the network is left in evaluation mode.

    judge: as in `predict`; strata: as in `measure`.
    """
    predicted = predict(network, pictures.images, judge)
    return measure(predicted, pictures.label, pictures.group, classes, train_counts, strata)
