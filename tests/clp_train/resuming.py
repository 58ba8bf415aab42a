"""A run that is killed after a step and resumed is the run that was not."""

import pytest
import torch

from clp_train import run_folder
from clp_train.running.checkpoint import Checkpoint
from tests.clp_train.builders import config_of, train


class Killed(BaseException):
    """Stands for the end of the process."""


def assert_resumed_is_the_same(config, run, folder, last):
    """Train whole, and killed after step `last` and resumed: the same weights at the end and the same history."""

    def trained(name, kill_at=None, resume=False):
        def on_step(done):
            if done.step == kill_at:
                raise Killed

        return train(config, run, on_step, checkpoint=Checkpoint(folder / name, {}), resume=resume)

    whole = trained("whole")
    with pytest.raises(Killed):
        trained("killed", kill_at=last)
    again = trained("killed", resume=True)
    assert all(torch.equal(value, again.last.state[name]) for name, value in whole.last.state.items())
    assert whole.history == again.history


def short(shard, folder, **change):
    """Return a configuration of twelve steps whose state is kept after each, in a folder."""
    settings = {"epochs": 3, "batch_size": 20, "checkpoint_interval": 1, "saliency_interval": 3, "meta_interval": 2}
    return config_of(meta=shard, out=folder / "run", **{**settings, **change})


def killable(config, loaded, kill_at=None, resume=False, steps=None, **more):
    """Train in the configuration's folder, or be killed after so many steps; steps: where what was told is kept.

    more: as in `train`.
    """
    run_folder.prepare(config.folder, resume)
    told = [] if steps is None else steps

    def on_step(done):
        told.append(done)
        if len(told) == kill_at:
            raise Killed

    checkpoint = run_folder.checkpoint_of(config.folder, config.as_json(), loaded)
    return train(config, loaded, on_step, checkpoint=checkpoint, resume=resume, **more)


def assert_same(a, b):
    """What two runs leave is the same, bit by bit."""
    assert a.history == b.history
    assert a.last.metrics == b.last.metrics
    assert a.selected.epoch == b.selected.epoch
    for state, other in ((a.last.state, b.last.state), (a.selected.state, b.selected.state)):
        assert all(torch.equal(value, other[name]) for name, value in state.items())
