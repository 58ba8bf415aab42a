"""A killed run goes on bit by bit; a checkpoint of another run, or a damaged one, is refused in one line."""

import pytest
import torch

from clp_aug.contract.errors import InputError, UsageError
from clp_aug.nets.state import read_state, write_state
from clp_train import run_folder as runs
from clp_train.methods import METHODS
from clp_train.running import loop
from clp_train.running.checkpoint import Checkpoint
from tests.clp_train.builders import config_of, load, train


class Killed(BaseException):
    """Stands for the end of the process."""


def config_for(shard, tmp_path, **change):
    settings = {"epochs": 3, "batch_size": 20, "checkpoint_interval": 1, "saliency_interval": 3, "meta_interval": 2}
    return config_of(meta=shard, out=tmp_path / "run", **{**settings, **change})


def train(config, loaded, kill_at=None, resume=False, steps=None):
    """Train, or be killed after so many steps; steps: where what was told of each step is kept."""
    runs.prepare(config.folder, resume)
    told = [] if steps is None else steps

    def on_step(done):
        told.append(done)
        if len(told) == kill_at:
            raise Killed

    return train(config, loaded, on_step, checkpoint=runs.checkpoint_of(config, loaded), resume=resume)


def assert_same(a, b):
    assert a.history == b.history
    assert a.last.metrics == b.last.metrics
    assert a.selected.epoch == b.selected.epoch
    for state, other in ((a.last.state, b.last.state), (a.selected.state, b.selected.state)):
        assert all(torch.equal(value, other[name]) for name, value in state.items())


@pytest.mark.parametrize("method", METHODS)
def test_killed_after_any_step_and_resumed_it_is_the_same_run(demo_shard, tmp_path, method):
    loaded = load(config_of(meta=demo_shard))
    steps = []
    staged = "stages" in METHODS[method].needs
    epochs = 6 if staged else 3  # the shortest stage is a tenth of the run
    whole = train(config_for(demo_shard, tmp_path / "whole", method=method, epochs=epochs), loaded, steps=steps)
    n = len(steps)
    points = {2, n // 2 + 1, n - 1} if staged or method == "clp" else {n // 2 + 1}  # within epochs and stages, at ends
    for kill_at in points:
        config = config_for(demo_shard, tmp_path / str(kill_at), method=method, epochs=epochs)
        with pytest.raises(Killed):
            train(config, loaded, kill_at)
        assert_same(train(config, loaded, resume=True), whole)


@pytest.mark.parametrize(
    "change",
    [{"meta_step": "lagged"}, {"hypergradient": "central"}, {"virtual_momentum": True}, {"meta_scope": "last-block"}],
)
def test_in_every_form_of_the_meta_step(demo_shard, tmp_path, change):
    loaded = load(config_of(meta=demo_shard))
    whole = train(config_for(demo_shard, tmp_path / "whole", **change), loaded)
    config = config_for(
        demo_shard,
        tmp_path / "killed",
        **change,
    )
    with pytest.raises(Killed):
        train(config, loaded, 6)
    assert_same(train(config, loaded, resume=True), whole)


def test_killed_twice_with_sparse_checkpoints(demo_shard, tmp_path):
    loaded = load(config_of(meta=demo_shard))
    whole = train(config_for(demo_shard, tmp_path / "whole", checkpoint_interval=3), loaded)
    config = config_for(demo_shard, tmp_path / "killed", checkpoint_interval=3)
    with pytest.raises(Killed):
        train(config, loaded, 6)
    with pytest.raises(Killed):
        train(config, loaded, 4, resume=True)
    assert_same(train(config, loaded, resume=True), whole)


def test_what_stands_in_the_way(demo_shard, tmp_path):
    loaded = load(config_of(meta=demo_shard))
    config = config_for(demo_shard, tmp_path)
    with pytest.raises(Killed):
        train(config, loaded, 3)
    with pytest.raises(UsageError, match=r"run holds an unfinished run; give --resume to go on, or another --out"):
        runs.prepare(config.folder)
    with pytest.raises(UsageError, match=r"is of a run with lr = 0\.1, now 0\.2; use another --out"):
        train(config_for(demo_shard, tmp_path, lr=0.2), loaded, resume=True)
    path = config.folder / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(
        InputError, match=r"checkpoint\.safetensors: damaged checkpoint \(.*\); remove it and start anew"
    ):
        train(config, loaded, resume=True)
    path.unlink()
    with pytest.raises(
        InputError, match=r"checkpoint\.safetensors: no checkpoint to resume from; run without --resume"
    ):
        train(config, loaded, resume=True)


def test_the_file_is_replaced_atomically(demo_shard, tmp_path, monkeypatch):
    loaded = load(config_of(meta=demo_shard))
    config = config_for(demo_shard, tmp_path)
    with pytest.raises(Killed):
        train(config, loaded, 3)
    before = (config.folder / "checkpoint.safetensors").read_bytes()
    monkeypatch.setattr("clp_aug.nets.state.to_bytes", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(InputError, match=r"cannot write .*checkpoint\.safetensors \(No space left\)"):
        train(config, loaded, resume=True)
    assert (config.folder / "checkpoint.safetensors").read_bytes() == before
    assert isinstance(runs.checkpoint_of(config, loaded), Checkpoint)


def test_backgrounds_are_not_learnt_again(demo_shard, tmp_path, monkeypatch):
    """Killed in the first epoch, long before a state is due: learning them took as long as a run."""
    learnt, calls = loop.learnt_backgrounds, []

    def counted(*arguments):
        calls.append(arguments)
        return learnt(*arguments)

    monkeypatch.setattr(loop, "learnt_backgrounds", counted)
    loaded = load(config_of(meta=demo_shard))
    settings = {"method": "clp", "omega_start": "background", "checkpoint_interval": 1000, "epochs": 1}
    whole = train(config_for(demo_shard, tmp_path / "whole", **settings), loaded)
    config = config_for(demo_shard, tmp_path / "killed", **settings)
    with pytest.raises(Killed):
        train(config, loaded, kill_at=1)
    assert_same(train(config, loaded, resume=True), whole)
    assert len(calls) == 2, "once a run"


@pytest.mark.parametrize("kill_at", [3, 5])
def test_a_state_of_before_begun_was_kept_is_gone_on_with(demo_shard, tmp_path, kill_at):
    """It said so by the losses of the epoch under way; an epoch has four steps here."""
    loaded = load(config_of(meta=demo_shard))
    settings = {"method": "erm", "epochs": 2}
    whole = train(config_for(demo_shard, tmp_path / "whole", **settings), loaded)
    config = config_for(demo_shard, tmp_path / "killed", **settings)
    with pytest.raises(Killed):
        train(config, loaded, kill_at)
    checkpoint = runs.checkpoint_of(config, loaded)
    plain, tensors = read_state(checkpoint.path, checkpoint.key)
    assert plain.pop("begun") == bool(plain["losses"])
    write_state(checkpoint.path, checkpoint.key, plain, tensors)
    assert_same(train(config, loaded, resume=True), whole)
