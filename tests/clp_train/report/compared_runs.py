"""Runs made for the tests of comparisons: folders with a result and a table of predictions, and no network."""

import json

import numpy as np
import torch

from clp_train.evaluating.metrics import measure
from clp_train.evaluating.predictions import Predictions
from clp_train.predicting.table import write_labelled
from clp_train.report.compare_runs import read_runs

CLASSES = ["land & sea", '<script>document.title="x"</script>']
GROUPS = ["land on land", "land on water", "<b>sea</b> on land", "sea on water"]
LABEL = np.repeat([0, 1], 6)
GROUP = np.repeat([0, 1, 2, 3], 3)
FILES = [f"{i:02d}.png" for i in range(12)]


def metrics_of(predicted):
    """Return the metrics of predictions as a result has them."""
    columns = [torch.tensor(column) for column in (predicted, LABEL, GROUP)]
    found = measure(*columns, 2, [1, 1, 1, 1])
    return json.loads(json.dumps(vars(found)))


def history_of(epochs, loss):
    """Return the history of a run whose loss halves."""
    return [{"epoch": e + 1, "train_loss": loss / 2**e, "val_average": 0.5, "val_worst": 0.25} for e in range(epochs)]


def made_result(predicted, method="erm", seed=0, epochs=3, selected=2, config=None, shard=None, **parts):
    """Return a result of a run on 12 pictures in 4 groups."""
    snapshot = {"epoch": epochs, "metrics": {"val": metrics_of(LABEL), "test": metrics_of(predicted)}}
    return {
        "config": {"meta": "gone.h5", "method": method, "model": "resnet8", "seed": seed, "out": f"{method}{seed}",
                   "lr": 0.1, "options": {}, **(config or {})},
        "dataset": "birds", "fingerprint": "0123456789abcdef" * 4, "shard_settings": {"cf": ["tile"], **(shard or {})},
        "has_groups": True, "group_names": GROUPS, "class_names": CLASSES, "train_group_counts": [9, 1, 1, 9],
        "meta_kinds": {"original": 4}, "last": snapshot,
        "selected": None if selected is None else {**snapshot, "epoch": selected},
        "attention": {"inside": 0.5}, "history": history_of(epochs, 1.0 + seed), "seconds": 10.0 + seed,
        "versions": {"torch": "2"}, **parts,
    }  # fmt: skip


def write_run(folder, predicted, table=True, **settings):
    """Write a run whose test pictures are taken for `predicted`, int (12,); return its folder."""
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(made_result(predicted, **settings)))
    if table:
        ones = torch.ones(len(FILES))
        columns = {
            "id": list(range(12)), "label": [CLASSES[c] for c in LABEL], "group": [GROUPS[g] for g in GROUP]
        }  # fmt: skip
        found = Predictions(torch.tensor(predicted), ones, ones)
        write_labelled(folder / "predictions-test.csv", FILES, columns, CLASSES, found)
    return folder


def flipped(*places):
    """Return predictions that are right but at some places."""
    return np.where(np.isin(np.arange(12), places), 1 - LABEL, LABEL)


def three_runs(folder):
    """Write two runs of erm, the second one's seed before the first one's, and one of clp; return them read."""
    write_run(folder / "a", flipped(3, 4, 5, 6), seed=1)
    write_run(folder / "b", flipped(3, 4, 6, 7), seed=0)
    write_run(folder / "c", flipped(0, 7), method="clp", epochs=5, config={"lr": 0.2})
    return read_runs([folder / name for name in "abc"])
