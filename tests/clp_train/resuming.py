"""A run that is killed after a step and resumed is the run that was not."""

import pytest
import torch

from clp_train.running.checkpoint import Checkpoint


class Killed(BaseException):
    """Stands for the end of the process."""


def assert_resumed_is_the_same(config, run, folder, last):
    """Train whole, and killed after step `last` and resumed: the same weights at the end and the same history."""

    def train(name, kill_at=None, resume=False):
        def on_step(done):
            if done.step == kill_at:
                raise Killed

        return train(config, run, on_step, checkpoint=Checkpoint(folder / name, {}), resume=resume)

    whole = train("whole")
    with pytest.raises(Killed):
        train("killed", kill_at=last)
    again = train("killed", resume=True)
    assert all(torch.equal(value, again.last.state[name]) for name, value in whole.last.state.items())
    assert whole.history == again.history
