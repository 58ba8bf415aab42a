"""What a finished run says: settings, data, metrics, history and versions, as plain JSON."""

from __future__ import annotations

import platform
import shlex
import sys
from importlib.metadata import version
from typing import Any

import torch

from clp_train.loading.data import RunData
from clp_train.pictures.types import kind_counts
from clp_train.running.checkpoint import snapshot_json
from clp_train.running.loop import Trained


def result_of(settings: dict[str, Any], data: RunData, outcome: Trained, attention: dict[str, Any]) -> dict[str, Any]:
    """Return all there is to say about a run as plain JSON.

    settings: `TrainConfig.as_json`; attention: where the selected network, else the last, looks on the meta originals.
    """
    counts = torch.bincount(data.train.group, minlength=len(data.group_names)).tolist()
    return {
        "command": shlex.join(["clp-train", *sys.argv[1:]]),
        "config": settings,
        "dataset": data.header.dataset,
        "fingerprint": data.header.fingerprint,
        "shard_settings": data.header.settings,
        "has_groups": bool(data.header.group_names),
        "group_names": list(data.group_names),
        "class_names": list(data.header.class_names),
        "train_group_counts": counts,
        "average_weights": list(data.weights),
        "protocols": dict(data.protocols),
        "meta_kinds": kind_counts(data.meta),
        "last": snapshot_json(outcome.last),
        "selected": snapshot_json(outcome.selected),
        "best_on_test": snapshot_json(outcome.best_on_test),
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
        },
    }
