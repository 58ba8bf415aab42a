"""The two tools together: a shard, a classifier trained on it, and a shard that attacks that classifier."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from clp_aug.cli import augment
from clp_aug.contract import boxes
from clp_aug.contract.schema import COUNTERFACTUAL, FACTUAL
from clp_aug.contract.shards import ShardReader
from clp_aug.inspect_cli import inspect
from clp_train.cli import train
from tests.clp_train.builders import config_of, load


def run(command, *arguments):
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def make(out, *more):
    options = ("--dataset", "demo", "--size", 16, "--limit", 60, "--meta", "2/group", "--workers", 1, "--quiet")
    return run(augment, *options, "--out", out, *more)


def test_augment_inspect_train_and_attack(tmp_path):
    first, second = tmp_path / "a.h5", tmp_path / "b.h5"
    assert f"next: clp-inspect {first}" in make(first, "--cf", "grey,tile", "--f", "random,mix-rand").splitlines()[-1]
    summary = json.loads(run(inspect, first, "--json", "--verify"))
    assert summary["dataset"] == "demo"
    page = tmp_path / "sheet.html"
    assert f"next: clp-train --meta {first}" in run(inspect, first, "--html", page).splitlines()[-1]
    assert page.stat().st_size > 10_000

    quick = ("--epochs", 1, "--batch-size", 20, "--meta-batch-size", 12, "--quiet")
    table = run(train, "--meta", first, "--method", "clp", *quick, "--export", "--out", tmp_path / "run")
    assert "worst" in table
    assert "average, weighted as in training" in table

    make(second, "--cf", "grey", "--f", "fgsm", "--classifier", tmp_path / "run" / "classifier.pt2", "--epsilon", 0.1)
    shard = ShardReader(second)
    assert len(shard.header.settings["classifier"]) == 64, "the attacked classifier is recorded by its hash"
    for i in np.flatnonzero(shard.tables["meta/kind"] == FACTUAL):
        original = np.flatnonzero(
            (shard.tables["meta/kind"] == 0) & (shard.tables["meta/sample_id"] == shard.tables["meta/parent_id"][i])
        )[0]
        moved = shard.image(int(i)).astype(int) - shard.image(int(original))
        inside = boxes.mask(tuple(shard.tables["meta/box"][i]), 16, 16)
        assert not moved[inside].any()
        assert abs(moved).max() <= int(0.1 * 255)
        assert np.abs(moved[~inside]).max(initial=25) == 25
    assert (shard.tables["meta/kind"] == COUNTERFACTUAL).sum() == 8


@pytest.mark.parametrize("changed", ["--noise", "--imbalance"])
def test_the_trainer_trains_on_the_labels_and_pictures_of_the_protocol(tmp_path, changed):

    shard = tmp_path / "x.h5"
    options = ("--dataset", "demo", "--size", 16, "--meta", "2/group", "--workers", 1, "--quiet", "--out", shard)
    run(augment, *options, "--cf", "grey", changed, {"--noise": "flip:0.4", "--imbalance": 50}[changed])
    loaded = load(config_of(meta=shard))
    clean = ShardReader(shard)
    if changed == "--imbalance":
        counts = np.bincount(loaded.train.label)
        assert counts[0] > 40 * counts[1]
        return
    from clp_aug.datasets import load_dataset

    demo = load_dataset("demo")
    truth = demo.samples.label[demo.rows_of(loaded.train.sample_id.numpy())]
    assert 0.35 < (truth != loaded.train.label.numpy()).mean() < 0.45
    meta = demo.samples.label[demo.rows_of(clean.tables["meta/sample_id"])]
    assert (meta == loaded.meta.label.numpy()).all(), "the meta set stays clean"
