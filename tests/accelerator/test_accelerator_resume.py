"""A run goes on where a checkpoint of another device left it, says so, and ends as the run that was not moved."""

import pytest

from clp_train import run_folder
from clp_train.running import loop
from clp_train.running.assembly import assemble
from tests.accelerator.beside_cpu import CLOSE, TEN_STEPS, assert_close, its_kernels
from tests.clp_train.builders import config_of
from tests.clp_train.resuming import Killed

MOVES = ["from the CPU", "from the accelerator"]


def killed(done):
    """The state is on disk after step 5; a device tells of no step but some."""
    if done.step > 5:
        raise Killed


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("method", ["erm", "clp", "co-teaching"])
def test_a_run_goes_on_on_another_device(method, move, shard, run, device, tmp_path):
    first, then = ("cpu", device) if move == MOVES[0] else (device, "cpu")
    settings = {**TEN_STEPS, "checkpoint_interval": 5}
    remarks = []

    def begin(where, folder, resume=False, hooks=loop.NO_HOOKS):
        config = config_of(method, shard, **settings, out=tmp_path / folder, device=where)
        config.folder.mkdir(exist_ok=True)
        assembly = assemble(config, run)
        checkpoint = run_folder.checkpoint_of(config.folder, config.as_json(), run, f"{where} of the test {resume}")
        with assembly.place.active(), its_kernels(where if where == then == device else "none"):
            return loop.train(assembly, hooks, checkpoint, resume)

    whole = begin("cpu", "whole")
    with pytest.raises(Killed):
        begin(first, "moved", hooks=loop.Hooks(on_step=killed))
    moved = begin(then, "moved", resume=True, hooks=loop.Hooks(remark=remarks.append))
    assert_close(moved.last.state, whole.last.state)
    assert moved.history[-1]["train_loss"] == pytest.approx(whole.history[-1]["train_loss"], rel=CLOSE)
    assert len(remarks) == 1
    assert f"begun on {first} of the test False" in remarks[0]
    assert "bit-identical only on the same machine" in remarks[0]
