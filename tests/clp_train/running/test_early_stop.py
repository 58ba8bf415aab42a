"""A run may stop when val no longer gets better, killed and resumed or not; warm-up and AdamW in whole runs."""

import pytest
import torch

from clp_aug.contract.errors import SettingError
from clp_train.algorithm.optimiser import rate_factor
from clp_train.evaluating.metrics import Metrics
from clp_train.running import loop
from clp_train.running.assembly import assemble
from clp_train.running.epochs import is_patience_over
from tests.clp_train.builders import config_of, train
from tests.clp_train.resuming import Killed, assert_same, killable, short

SCORES = {  # (worst, average) of val by epoch, patience -> the epoch after which the run stops, None for never
    "better all along": ([(0.1, 0.5), (0.2, 0.5), (0.3, 0.5)], 1, None),
    "worse at once": ([(0.3, 0.5), (0.2, 0.9), (0.3, 0.5)], 1, 2),
    "as good is not better": ([(0.3, 0.5), (0.3, 0.5), (0.3, 0.5)], 2, 3),
    "the average counts next": ([(0.3, 0.5), (0.3, 0.6), (0.3, 0.6), (0.3, 0.6)], 2, 4),
    "better again in time": ([(0.3, 0.5), (0.2, 0.5), (0.4, 0.5), (0.1, 0.5), (0.1, 0.5)], 2, 5),
    "without patience": ([(0.3, 0.5), (0.2, 0.5), (0.1, 0.5)], None, None),
}


@pytest.mark.parametrize(("scores", "patience", "last"), SCORES.values(), ids=SCORES)
def test_patience_is_over_after_so_many_epochs_without_a_better_one(scores, patience, last):
    history, stopped = [], None
    for epoch, (worst, average) in enumerate(scores, start=1):
        line = {"val_worst": worst, "val_average": average}
        if is_patience_over(history, line, patience, "worst-group") and stopped is None:
            stopped = epoch
        history.append(line)
    assert stopped == last


def test_without_val_nothing_is_over():
    assert not is_patience_over([], {"test_worst": 0.1, "test_average": 0.1}, 1, "worst-group")


@pytest.fixture
def falling(monkeypatch):
    """Val gets worse from the second epoch on."""
    worst = iter(range(1000))

    def scripted(network, pictures, *_):
        value = 0.5 - next(worst) / 1000
        return Metrics(value, value, value, (), (), (), ())

    monkeypatch.setattr(loop, "evaluate", scripted)


def test_a_run_that_stops_is_measured_on_every_split(loaded, demo_shard, falling):
    remarks = []
    config = config_of(meta=demo_shard, method="erm", epochs=9, batch_size=80, patience=3, select="worst-group")
    trained = loop.train(assemble(config, loaded), loop.Hooks(remark=remarks.append))
    assert len(trained.history) == trained.last.epoch == 4
    assert trained.selected.epoch == 1
    assert set(trained.last.metrics) == set(loaded.evaluation)
    assert remarks == ["stopped after epoch 4: val was no better in the last 3 epochs"]


@pytest.mark.parametrize("kill_at", [3, 6, 7])
def test_a_killed_run_stops_where_the_whole_one_did(demo_shard, loaded, tmp_path, monkeypatch, kill_at):
    """Of two steps an epoch; the best epoch is the second, the last one the fourth."""

    def scripted(network, pictures, *_):
        value = 0.5 - abs(epochs[-1] - 1) / 10
        return Metrics(value, value, value, (), (), (), ())

    epochs = []
    of_epoch = loop.Run.train_epoch

    def noted(run, epoch, of_stage):
        epochs.append(epoch)
        return of_epoch(run, epoch, of_stage)

    monkeypatch.setattr(loop.Run, "train_epoch", noted)
    monkeypatch.setattr(loop, "evaluate", scripted)
    settings = {"method": "erm", "epochs": 8, "batch_size": 40, "patience": 2, "select": "worst-group"}
    whole = killable(short(demo_shard, tmp_path / "whole", **settings), loaded)
    config = short(demo_shard, tmp_path / "killed", **settings)
    with pytest.raises(Killed):
        killable(config, loaded, kill_at)
    again = killable(config, loaded, resume=True)
    assert len(again.history) == 4
    assert again.history == whole.history
    assert all(torch.equal(value, again.last.state[name]) for name, value in whole.last.state.items())


REFUSED = {
    "no val": ({"patience": 2}, False, r"^patience = 2: the data have no val split to decide by; leave patience out$"),
    "two stages": (
        {"patience": 2, "method": "crt", "epochs": 10}, True,
        r"^patience = 2: crt has 2 stages of fixed lengths; leave patience out$",
    ),
    "a long warm-up": (
        {"warmup_epochs": 3}, True, r"^warmup_epochs = 3: the run has 3 epochs; expected fewer$",
    ),
    "a warm-up as long as a stage": (
        {"warmup_epochs": 2, "method": "crt", "epochs": 10}, True,
        r"^warmup_epochs = 2: its shortest stage has \d epochs?; expected fewer$",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "with_val", "message"), REFUSED.values(), ids=REFUSED)
def test_lengths_that_do_not_fit_are_refused(demo_shard, loaded, change, with_val, message):
    from dataclasses import replace

    if not with_val:
        loaded = replace(loaded, evaluation={k: v for k, v in loaded.evaluation.items() if k != "val"})
    with pytest.raises(SettingError, match=message):
        assemble(config_of(meta=demo_shard, **{"method": "erm", "epochs": 3, **change}), loaded)


@pytest.mark.parametrize("schedule", ["steps", "constant", "cosine"])
def test_a_warm_up_rises_in_equal_parts_to_the_schedule(schedule):
    plain = config_of(schedule=schedule, first_drop=0.8, second_drop=0.9).sgd
    warm = config_of(schedule=schedule, first_drop=0.8, second_drop=0.9, warmup_epochs=3).sgd
    factors = [rate_factor(warm, k, 10) / rate_factor(plain, k, 10) for k in range(10)]
    assert factors == pytest.approx([0.25, 0.5, 0.75, *[1] * 7])


@pytest.mark.parametrize("method", ["erm", "clp"])
def test_a_run_by_adamw_learns(loaded, demo_shard, method):
    settings = {"batch_size": 20, "epochs": 3, "optimiser": "adamw", "lr": 3e-3, "saliency_lambda": 0.0}
    trained = train(config_of(method, demo_shard, **settings), loaded)
    losses = [line["train_loss"] for line in trained.history]
    assert losses[-1] < 0.9 * losses[0]


def test_resumed_by_adamw_at_a_stages_end(demo_shard, loaded, tmp_path):
    settings = {"method": "crt", "epochs": 6, "optimiser": "adamw", "lr": 1e-3}
    whole = killable(short(demo_shard, tmp_path / "whole", **settings), loaded)
    for kill_at in (19, 21):
        config = short(demo_shard, tmp_path / str(kill_at), **settings)
        with pytest.raises(Killed):
            killable(config, loaded, kill_at)
        assert_same(killable(config, loaded, resume=True), whole)
