"""More epochs for a finished run: bit by bit the run that had them from its start, or refused in one line."""

import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file

from clp_aug.contract.errors import SettingError
from clp_train.methods import METHODS
from clp_train.run_folder import CHECKPOINT, END, LAST, RESULT, SELECTED, checkpoint_of, save_networks
from clp_train.running.assembly import assemble
from clp_train.running.clock import Spent
from clp_train.running.more_epochs import check_longer, reopen
from tests.clp_train.builders import config_of, train
from tests.clp_train.door.calling import call
from tests.clp_train.resuming import assert_same, short

CONSTANT = ("--set", "schedule=constant", "--batch-size", 40, "--preset", "none", "--quiet")


def done(demo_shard, folder, *more):
    """Train by the command line; return what it did."""
    return call("--meta", demo_shard, *CONSTANT, "--out", folder, *more)


@pytest.fixture(scope="module")
def two_epochs(demo_shard, tmp_path_factory):
    """A finished run of two epochs."""
    folder = tmp_path_factory.mktemp("two") / "r"
    assert done(demo_shard, folder, "--method", "clp", "--epochs", 2).exit_code == 0
    return folder


def test_a_finished_run_goes_on_as_if_it_had_never_ended(demo_shard, two_epochs, tmp_path):
    shutil.copytree(two_epochs, tmp_path / "r")
    more = done(demo_shard, tmp_path / "r", "--method", "clp", "--epochs", 4, "--resume")
    assert (more.exit_code, more.stderr) == (0, "")
    assert done(demo_shard, tmp_path / "whole", "--method", "clp", "--epochs", 4).exit_code == 0
    for name in (LAST, SELECTED):
        ours, theirs = load_file(tmp_path / "r" / name), load_file(tmp_path / "whole" / name)
        assert all(torch.equal(value, theirs[key]) for key, value in ours.items())
    same = [path.name for path in (tmp_path / "whole").iterdir() if path.suffix in (".csv", ".jsonl", ".md")]
    assert len(same) == 4
    for name in same:
        assert (tmp_path / "r" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    results = [json.loads((tmp_path / name / RESULT).read_text()) for name in ("r", "whole")]
    for name in ("seconds", "cpu_seconds", "command", "config"):
        assert results[0].pop(name) != "" != results[1].pop(name)
    assert results[0] == results[1]
    assert {p.name for p in (tmp_path / "r").iterdir()} == {p.name for p in (tmp_path / "whole").iterdir()}


def test_killed_on_the_way_it_is_resumed_like_any_run(demo_shard, two_epochs, tmp_path, loaded):
    shutil.copytree(two_epochs, tmp_path / "r")
    config = config_of("clp", demo_shard, out=tmp_path / "r", epochs=4, batch_size=40, schedule="constant")
    reopen(assemble(config, loaded), 2, checkpoint_of(tmp_path / "r", config.as_json(), loaded), Spent())
    (tmp_path / "r" / RESULT).unlink()
    again = done(demo_shard, tmp_path / "r", "--method", "clp", "--epochs", 4, "--resume")
    assert (again.exit_code, again.stderr) == (0, "")
    assert json.loads((tmp_path / "r" / RESULT).read_text())["last"]["epoch"] == 4
    assert not (tmp_path / "r" / CHECKPOINT).exists()


REFUSED = {
    "other rate": (("--lr", 0.5), 2, r"holds the result of a run with lr = 0\.1, now 0\.5; choose another --out"),
    "other seed": (("--seed", 1), 2, r"holds the result of a run with seed = 0, now 1; choose another --out"),
    "fewer": (("--epochs", 1), 2, r"holds the result of a run with epochs = 2, now 1; choose another --out"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_another_run_does_not_go_on(demo_shard, two_epochs, case):
    more, code, message = REFUSED[case]
    before = {path.name: path.read_bytes() for path in two_epochs.iterdir()}
    epochs = () if "--epochs" in more else ("--epochs", 4)
    refused = done(demo_shard, two_epochs, "--method", "clp", "--resume", *epochs, *more)
    assert refused.exit_code == code
    assert re.search(message, refused.stderr)
    assert refused.stderr.count("\n") == 1
    assert {path.name: path.read_bytes() for path in two_epochs.iterdir()} == before


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        (END, "no such file, so the run cannot continue; runs of earlier versions have none"),
        (LAST, "no such file; only"),
    ],
)
def test_what_a_run_needs_to_go_on_is_named(demo_shard, two_epochs, tmp_path, gone, message):
    shutil.copytree(two_epochs, tmp_path / "r")
    (tmp_path / "r" / gone).unlink()
    refused = done(demo_shard, tmp_path / "r", "--method", "clp", "--epochs", 4, "--resume")
    assert refused.exit_code == 3
    assert f"{tmp_path}/r/{gone}: {message}" in refused.stderr
    assert (tmp_path / "r" / RESULT).exists(), "the result stays"


ROWS = [
    ("erm", {"schedule": "cosine"}, "its learning rates followed the schedule cosine, by shares of all epochs"),
    ("erm", {"schedule": "steps"}, "its learning rates followed the schedule steps, by shares of all epochs"),
    ("erm", {"schedule": "steps", "first_drop": 1.0, "second_drop": 1.0}, None),
    ("erm", {}, None),
    ("crt", {}, "the stages of crt are shares of all epochs"),
    ("isda", {}, "isda depends on the finished share of all epochs"),
]


@pytest.mark.parametrize(("method", "settings", "message"), ROWS)
def test_a_run_goes_on_where_its_schedule_allows(demo_shard, loaded, method, settings, message):
    config = config_of(method, demo_shard, epochs=60, **{"schedule": "constant", **settings})
    assembly = assemble(config, loaded)
    if message is None:
        check_longer(assembly, 30, 30)
        return
    with pytest.raises(SettingError, match=f"epochs = 60: the run of 30 epochs cannot continue: {message}"):
        check_longer(assembly, 30, 30)


def test_one_that_stopped_early_stays_stopped(demo_shard, loaded):
    assembly = assemble(config_of("erm", demo_shard, epochs=60, schedule="constant"), loaded)
    with pytest.raises(SettingError, match="it stopped after 12, by its patience"):
        check_longer(assembly, 30, 12)


def may_go_on(method, demo_shard, loaded):
    """Tell whether a method's run may go on at a constant rate."""
    try:
        check_longer(assemble(config_of(method, demo_shard, epochs=20, schedule="constant"), loaded), 10, 10)
    except SettingError:
        return False
    return True


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_that_may_go_on_is_the_same_as_one_that_was_longer(demo_shard, loaded, tmp_path, method):
    if not may_go_on(method, demo_shard, loaded):
        return
    few, more = (2, 3) if method == "spare" else (1, 2)  # its clusters are made after an epoch
    runs = {
        epochs: short(demo_shard, tmp_path / str(epochs), method=method, epochs=epochs, schedule="constant",
                      batch_size=40, saliency_interval=1, meta_interval=1)
        for epochs in (few, more)
    }  # fmt: skip
    folder = tmp_path / "run"
    folder.mkdir()
    kept = {epochs: checkpoint_of(folder, config.as_json(), loaded) for epochs, config in runs.items()}
    first = train(runs[few], loaded, checkpoint=kept[few])
    save_networks(folder, first)
    reopen(assemble(runs[more], loaded), few, kept[more], Spent(1.5, 3.0))
    assert_same(train(runs[more], loaded, checkpoint=kept[more], resume=True), train(runs[more], loaded))
