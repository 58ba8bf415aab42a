"""A run that predicts one class only says so."""

import pytest
import torch

from clp_train import cli
from clp_train.evaluating.metrics import measure
from clp_train.result import collapses, only_class
from clp_train.running.checkpoint import Snapshot, snapshot_json

LABELS = [0, 0, 1, 1, 1, 2]


def measured(predicted, label=LABELS, classes=3):
    """Return the metrics of predictions as result.json has them."""
    label = torch.tensor(label)
    metrics = measure(torch.tensor(predicted), label, label, classes, [1] * classes)
    return snapshot_json(Snapshot(1, {}, {"test": metrics}))["metrics"]["test"]


@pytest.mark.parametrize(
    ("predicted", "expected"),
    [
        ([1] * 6, 1),
        ([2] * 6, 2),
        ([1, 1, 1, 1, 1, 0], None),
        ([2, 2, 1, 1, 1, 0], None),
        (LABELS, None),
        ([0] * 5 + [2], None),
    ],
    ids=["all 1", "all 2", "0 is predicted too", "as accurate, but two are mixed up", "all right", "two classes"],
)
def test_the_only_class_that_is_predicted(predicted, expected):
    assert only_class(measured(predicted)) == expected


def test_where_one_class_alone_is_there_nothing_is_told():
    assert only_class(measured([1] * 3, [1] * 3)) is None
    assert only_class(measured([1] * 6) | {"precision": None}) is None, "older results"


def test_what_is_said():
    one, other, fine = measured([1] * 6), measured([2] * 6), measured(LABELS)
    result = {
        "class_names": ["cat", "dog", "eel"],
        "last": {"metrics": {"val": one, "test": one}},
        "selected": {"metrics": {"val": other, "test": one}},
    }
    assert list(collapses(result)) == [
        "predicts one class only: dog (last epoch: val, test; selected epoch: test)",
        "predicts one class only: eel (selected epoch: val)",
    ]
    assert list(collapses(result | {"last": {"metrics": {"test": fine}}, "selected": None})) == []


def test_it_stands_below_the_table(capsys, monkeypatch):
    monkeypatch.setattr("clp_train.report.table.accuracy_table", lambda result: "TABLE")
    snapshot = {"metrics": {"test": measured([1] * 6)}}
    cli.show({"class_names": ["cat", "dog", "eel"], "last": snapshot, "selected": None})
    assert capsys.readouterr().out == "TABLE\npredicts one class only: dog (last epoch: test)\n"
