"""Which epoch is kept: the best worst group of val, the first of equals; if test is watched, its best one."""

import numpy as np
import pytest
import torch

from clp_train.evaluating.metrics import Metrics
from clp_train.result import result_of
from clp_train.running import epochs, loop
from clp_train.running.checkpoint import Position
from tests.clp_train.builders import config_of, train


def test_watching_test_gives_its_best_epoch(loaded, demo_shard):
    settings = {"meta": demo_shard, "method": "erm", "epochs": 5, "batch_size": 20}
    watched = train(config_of(watch_test=True, **settings), loaded)
    plain = train(config_of(**settings), loaded)
    averages = [line["test_average"] for line in watched.history]
    assert watched.best_on_test.metrics["test"].average == max(averages)
    assert watched.best_on_test.epoch == 1 + averages.index(max(averages))  # the first of several
    assert len(set(averages)) > 1
    assert plain.best_on_test is None
    assert ["test_average" in line for line in plain.history] == [False] * 4 + [True]
    assert plain.selected.epoch == watched.selected.epoch  # to look is not to choose
    assert all(torch.equal(value, watched.last.state[name]) for name, value in plain.last.state.items())
    result = result_of(config_of(watch_test=True, **settings).as_json(), loaded, watched, {}, "cpu")
    assert result["best_on_test"]["metrics"]["test"]["average"] == max(averages)
    assert result_of(config_of(**settings).as_json(), loaded, plain, {}, "cpu")["best_on_test"] is None


def test_of_equal_epochs_the_first_is_best_on_test_and_the_last_is_selected(loaded, demo_shard, monkeypatch):
    done = []

    def scripted(network, pictures, classes, train_counts, judge, strata, scale):
        value = [0.5, 0.7, 0.7, 0.6, 0.0][len(done)]
        return Metrics(value, value, value, (), (), (), ())

    monkeypatch.setattr(loop, "evaluate", scripted)
    config = config_of(meta=demo_shard, method="erm", epochs=4, batch_size=80, watch_test=True, select="worst-group")
    trained = train(config, loaded, on_epoch=lambda history: done.append(len(history)))
    assert done == [1, 2, 3, 4]
    assert (trained.best_on_test.epoch, trained.selected.epoch) == (2, 3)


def measured_as(worst, average, weighted):
    return Metrics(average, weighted, worst, (average,), (worst, average), (2,), (1, 1))


SELECTIONS = {  # (worst, average, weighted average) of val in four epochs -> the one that is kept, from 1
    "the worst group decides": ([(0.2, 0.9, 0.9), (0.5, 0.6, 0.6), (0.4, 0.9, 0.9), (0.1, 1, 1)], 2),
    "then the plain average": ([(0.5, 0.6, 0.9), (0.5, 0.8, 0.6), (0.5, 0.7, 0.9), (0.4, 1, 1)], 2),
    "then the later epoch": ([(0.5, 0.6, 0.9), (0.5, 0.6, 0.6), (0.4, 0.9, 0.9), (0.4, 1, 1)], 2),
    "the weighted average never": ([(0.5, 0.7, 0.1), (0.5, 0.6, 0.9), (0.5, 0.6, 1), (0.4, 1, 1)], 1),
}


@pytest.mark.parametrize(("val", "kept"), SELECTIONS.values(), ids=SELECTIONS)
def test_selection_by_the_worst_group_of_val(val, kept):
    network, at = torch.nn.Linear(2, 2), Position()
    for epoch, numbers in enumerate(val):
        torch.nn.init.constant_(network.bias, epoch + 1)
        test = measured_as(0.1 * epoch, 0.1 * epoch, 0.1 * epoch)  # the last is the best by test, and is not kept
        epochs.conclude_epoch(at, network, {"val": measured_as(*numbers), "test": test}, 0.1, True, "worst-group")
    assert at.selected.epoch == kept
    assert at.selected.state["bias"].tolist() == [kept, kept]
    assert at.best.epoch == 4
    for line, (worst, average, weighted) in zip(at.history, val, strict=True):
        assert (line["val_worst"], line["val_average"], line["val_weighted_average"]) == (worst, average, weighted)


def test_what_is_reported_names_its_average(loaded, demo_shard):
    config = config_of(meta=demo_shard, method="erm", epochs=1, batch_size=40)
    result = result_of(config.as_json(), loaded, train(config, loaded), {}, "cpu")
    assert result["average_weights"] == list(loaded.weights) == [1425, 75, 75, 1425]
    test = result["last"]["metrics"]["test"]
    assert {"average", "weighted_average", "worst"} < set(test)
    weighted = np.average(test["per_group"], weights=result["average_weights"])
    assert test["weighted_average"] == pytest.approx(weighted)
