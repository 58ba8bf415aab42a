"""Figures of predictions for pictures with known labels: the metrics of EVALUATE, and the confusion matrix."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from clp_train.evaluating.confusion import confusion
from clp_train.evaluating.metrics import measure
from clp_train.evaluating.scores import Sure
from clp_train.predicting.description import Description
from clp_train.predicting.pictures import UNKNOWN, Source
from clp_train.predicting.table import Made


def figures(made: Made, source: Source, about: Description) -> dict[str, Any] | None:
    """Return the figures of the pictures with known labels as plain JSON, None without any.

    pictures: their number; metrics: as in results, by group if all pictures have one, else by class; group_names: of
    these groups or classes; confusion: pictures of each class (rows) that were predicted as each class (columns).
    """
    rows = torch.tensor(made.rows)
    label, group = (torch.from_numpy(values)[rows] for values in (source.label, source.group))
    known = label != UNKNOWN
    if not known.any():
        return None
    predicted, label, group = made.predicted[known], label[known], group[known]
    of_predicted, log_odds = made.sure
    sure = Sure(of_predicted[known], None if log_odds is None else log_odds[known])
    has_groups = bool(about.group_names) and bool((group != UNKNOWN).all())
    names = about.group_names if has_groups else about.class_names
    strata = {name: torch.from_numpy(part)[rows][known] for name, part in source.strata.items()}
    classes = len(about.class_names)
    weights = weights_of(about, label, has_groups)
    metrics = measure(predicted, label, group if has_groups else label, classes, weights, strata, sure)
    return {
        "pictures": len(label),
        "has_groups": has_groups,
        "group_names": list(names),
        "metrics": asdict(metrics),
        "confusion": confusion(predicted, label, classes).tolist(),
    }


def weights_of(about: Description, label: Tensor, has_groups: bool) -> list[int]:
    """Return the weights of groups, or of classes without groups, in the weighted average: those of the run if it has
    the same groups or classes, else the numbers of pictures.
    """
    if has_groups == bool(about.group_names):
        return list(about.group_weights)
    return [int(n) for n in torch.bincount(label, minlength=len(about.class_names))]
