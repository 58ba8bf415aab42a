"""Which classes are confused, on the page: from the tables of predictions, all of it or the most confused pairs."""

import json

import pytest
import torch

from clp_aug.contract.errors import InputError
from clp_train.evaluating.predictions import Predictions
from clp_train.predicting.table import write_labelled
from clp_train.report.confusions import MOST_PAIRS, confusions_in, layout
from clp_train.report.page import write_page
from tests.clp_train.door.calling import call


def write(folder, split, label, predicted, names):
    """Write a table of predictions."""
    ones = torch.ones(len(label))
    columns = {"id": list(range(len(label))), "label": [names[c] for c in label]}
    found = Predictions(torch.tensor(predicted), ones, ones)
    write_labelled(folder / f"predictions-{split}.csv", [f"{i}.png" for i in columns["id"]], columns, names, found)


def result_of(names, splits=("val", "test")):
    return {"class_names": names, "selected": None, "last": {"metrics": dict.fromkeys(splits)}}


def test_tests_are_read_and_val_without_them(tmp_path):
    names = ["a", 'b,"', "c"]
    write(tmp_path, "test", [0, 1, 2, 1], [0, 2, 2, 2], names)
    write(tmp_path, "val", [0], [1], names)
    assert confusions_in(tmp_path, result_of(names))["test"].tolist() == [[1, 0, 0], [0, 0, 2], [0, 0, 1]]
    assert list(confusions_in(tmp_path, result_of(names))) == ["test"]
    assert list(confusions_in(tmp_path, result_of(names, ("val",)))) == ["val"]
    assert confusions_in(tmp_path, result_of(names, ("other",))) == {}, "a recorded run has no tables"


@pytest.mark.parametrize("text", ["file\n", "file,label,predicted\na,b\n", "file,label,predicted\na,x,b\n", "\0"])
def test_other_tables_are_one_line(tmp_path, text):
    (tmp_path / "predictions-test.csv").write_text(text + "a\n")
    with pytest.raises(InputError, match=r"predictions-test\.csv: no predictions of this run \(.*\); remove it"):
        confusions_in(tmp_path, result_of(["b", "c"]))


def test_few_classes_are_a_matrix_and_many_are_pairs():
    few = layout(torch.tensor([[3, 1], [0, 0]]), ["a", "b"], "test")
    assert few["matrix"][0] == {"name": "a", "cells": [(3, 0.75, True), (1, 0.25, False)]}
    assert few["pairs"] == []
    counts = torch.arange(900).view(30, 30)
    many = layout(counts, [str(c) for c in range(30)], "test")
    assert many["matrix"] == []
    assert len(many["pairs"]) == MOST_PAIRS
    assert many["pairs"][0] == ("29", "28", f"898 of {counts[29].sum()}")


def test_the_page_of_a_run_has_it_and_is_made_without(demo_shard, tmp_path):
    run = tmp_path / "r"
    settings = ("--method", "erm", "--epochs", 1, "--batch-size", 40, "--quiet", "--out", run)
    assert call("--meta", demo_shard, *settings).exit_code == 0
    page = (run / "page.html").read_text()
    assert "Which classes are confused, test" in page
    assert page.count('class="confusion"') == 1
    counts = json.loads((run / "result.json").read_text())["last"]["metrics"]["test"]["class_counts"]
    matrix = confusions_in(run, json.loads((run / "result.json").read_text()))["test"]
    assert matrix.sum(1).tolist() == counts
    (run / "predictions-test.csv").unlink()
    write_page(run, tmp_path / "page.html")
    assert "Which classes are confused" not in (tmp_path / "page.html").read_text()
