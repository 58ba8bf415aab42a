"""The result of a run: settings, data, metrics, history and versions, as plain JSON."""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any

import torch

from clp_train.evaluating.selection import NOTHING, knew_of
from clp_train.loading.data import RunData
from clp_train.pictures.types import kind_counts
from clp_train.running.checkpoint import snapshot_json
from clp_train.running.loop import Trained


def result_of(
    settings: dict[str, Any], data: RunData, outcome: Trained, attention: dict[str, Any], device: str
) -> dict[str, Any]:
    """Return the result of a run as plain JSON.

    settings: `TrainConfig.as_json`; attention: where the selected network, else the last, looks on the meta originals;
    device: of the networks, in words.
    """
    counts = torch.bincount(data.train.group, minlength=len(data.group_names)).tolist()
    start, has_groups = outcome.network.start_weights, bool(data.header.group_names)
    return {
        "command": shlex.join(["clp-train", *sys.argv[1:]]),
        "config": settings,
        "dataset": data.header.dataset,
        "fingerprint": data.header.fingerprint,
        "shard_settings": data.header.settings,
        "has_groups": has_groups,
        "group_names": list(data.group_names),
        "class_names": list(data.header.class_names),
        "train_group_counts": counts,
        "average_weights": list(data.weights),
        "protocols": dict(data.protocols),
        "meta_kinds": kind_counts(data.meta),
        "last": snapshot_json(outcome.last),
        "selected": snapshot_json(outcome.selected),
        "best_on_test": snapshot_json(outcome.best_on_test),
        "selected_by": None if outcome.selected is None else outcome.selected_by,
        "selection_knew": NOTHING if outcome.selected is None else knew_of(outcome.selected_by, has_groups),
        "attention": attention,
        "history": outcome.history,
        "seconds": round(outcome.spent.seconds, 1),
        "cpu_seconds": round(outcome.spent.cpu_seconds, 1),
        "versions": {
            "clp": version("causal-logit-perturbation"),
            "torch": torch.__version__,
            "numpy": version("numpy"),
            "python": platform.python_version(),
            "threads": torch.get_num_threads(),
            "device": device,
        },
    } | ({} if start is None else {"start_weights": start._asdict()})


def collapses(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each class that is a network's only prediction on a split: the run has collapsed."""
    places: dict[str, dict[str, list[str]]] = {}
    for moment in ("last", "selected"):
        for split, metrics in (result[moment] or {"metrics": {}})["metrics"].items():
            predicted = only_class(metrics)
            if predicted is not None:
                splits = places.setdefault(result["class_names"][predicted], {})
                splits.setdefault(f"{moment} epoch", []).append(split)
    for name, splits in places.items():
        moments = "; ".join(f"{moment}: {', '.join(where)}" for moment, where in splits.items())
        yield f"predicts one class only: {name} ({moments})"


def only_class(metrics: Mapping[str, Any]) -> int | None:
    """Return the only predicted class of a split; None if two classes are predicted, or the split has only one class.

    The class's precision, right over predicted, is then its share of all pictures; metrics has the mean over classes.
    """
    present = {k: accuracy for k, accuracy in enumerate(metrics["per_class"]) if accuracy is not None}
    right = [k for k, accuracy in present.items() if accuracy]
    precision = metrics.get("precision")
    if len(present) < 2 or len(right) != 1 or present[right[0]] < 1 or precision is None:
        return None
    return right[0] if abs(precision * len(present) - metrics["average"]) < 1e-9 else None
