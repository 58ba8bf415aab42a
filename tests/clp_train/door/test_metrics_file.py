"""Metrics by epoch: a line each, killed or not."""

import json

import pytest

from clp_train import run_folder as runs
from tests.clp_train.builders import config_of, train


class Killed(BaseException):
    """Stands for the end of the process."""


def run_with_metrics(config, loaded, kill_at=None, resume=False):
    """Train as clp-train does, metrics.jsonl included; be killed in a step, or at an epoch's end ("epoch 2")."""
    runs.prepare(config.folder, resume)

    def on_step(done):
        if done.step == kill_at:
            raise Killed

    def on_epoch(history):
        runs.write_metrics(config.folder, history)
        if f"epoch {len(history)}" == kill_at:
            raise Killed

    checkpoint = runs.checkpoint_of(config.folder, config.as_json(), loaded)
    return train(config, loaded, on_step, on_epoch, checkpoint, resume)


def test_metrics_are_a_line_an_epoch_killed_or_not(loaded, demo_shard, tmp_path):
    def config_for(name):
        return config_of(
            meta=demo_shard, method="clp", epochs=3, batch_size=40, checkpoint_interval=1, watch_test=True,
            saliency_interval=2, out=tmp_path / name,
        )  # fmt: skip

    trained = run_with_metrics(config_for("whole"), loaded)
    whole = (tmp_path / "whole" / runs.METRICS).read_text()
    assert [json.loads(line) for line in whole.splitlines()] == trained.history
    assert whole.endswith("}\n")
    assert [json.loads(line)["epoch"] for line in whole.splitlines()] == [1, 2, 3]
    keys = {"epoch", "lr", "train_loss", "meta_loss", "saliency_loss"}
    measures = ("worst", "average", "weighted_average", "worst_class", "balanced", "group_mean")
    keys |= {f"{split}_{key}" for split in ("val", "test") for key in measures}
    assert set(json.loads(whole.splitlines()[0])) == keys
    for kill_at, lines in ((2, 0), (3, 1), (4, 1), ("epoch 2", 2)):
        config = config_for(f"killed {kill_at}")
        with pytest.raises(Killed):
            run_with_metrics(config, loaded, kill_at)
        path = config.folder / runs.METRICS
        before = path.read_text() if path.exists() else ""
        assert before == "".join(whole.splitlines(keepends=True)[:lines])
        again = run_with_metrics(config, loaded, resume=True)
        assert path.read_text() == whole
        assert again.best_on_test.epoch == trained.best_on_test.epoch
        assert again.best_on_test.metrics == trained.best_on_test.metrics


def test_metrics_replace_the_file_whole(tmp_path):
    runs.write_metrics(tmp_path, [{"epoch": 1, "train_loss": 0.5, "meta_loss": None}, {"epoch": 2}])
    assert (
        tmp_path / "metrics.jsonl"
    ).read_text() == '{"epoch": 1, "train_loss": 0.5, "meta_loss": null}\n{"epoch": 2}\n'
    runs.write_metrics(tmp_path, [{"epoch": 1}])
    assert (tmp_path / "metrics.jsonl").read_text() == '{"epoch": 1}\n'
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]
