"""A killed run goes on bit by bit; a checkpoint of another run, or a damaged one, is refused in one line."""

import pytest

from clp_aug.contract.errors import InputError, UsageError
from clp_aug.nets.state import read_state, write_state
from clp_train.methods import METHODS
from clp_train.run_folder import checkpoint_of, prepare
from clp_train.running.assembly import assemble
from clp_train.running.checkpoint import Checkpoint
from tests.clp_train.builders import config_of, load
from tests.clp_train.resuming import Killed, assert_same, killable, short


def file_of(config, loaded):
    """Return where the full state of a run goes."""
    return checkpoint_of(config.folder, config.as_json(), loaded)


@pytest.mark.parametrize("method", METHODS)
def test_killed_after_any_step_and_resumed_it_is_the_same_run(demo_shard, tmp_path, method):
    loaded = load(config_of(meta=demo_shard))
    steps = []
    staged = "stages" in METHODS[method].needs
    epochs = 6 if staged else 3  # the shortest stage is a tenth of the run
    whole = killable(short(demo_shard, tmp_path / "whole", method=method, epochs=epochs), loaded, steps=steps)
    n = len(steps)
    points = {2, n // 2 + 1, n - 1} if staged or method == "clp" else {n // 2 + 1}  # within epochs and stages, at ends
    for kill_at in points:
        config = short(demo_shard, tmp_path / str(kill_at), method=method, epochs=epochs)
        with pytest.raises(Killed):
            killable(config, loaded, kill_at)
        assert_same(killable(config, loaded, resume=True), whole)


@pytest.mark.parametrize(
    "change",
    [{"meta_step": "lagged"}, {"hypergradient": "central"}, {"virtual_momentum": True}, {"meta_scope": "last-block"}],
)
def test_in_every_form_of_the_meta_step(demo_shard, tmp_path, change):
    loaded = load(config_of(meta=demo_shard))
    whole = killable(short(demo_shard, tmp_path / "whole", **change), loaded)
    config = short(demo_shard, tmp_path / "killed", **change)
    with pytest.raises(Killed):
        killable(config, loaded, 6)
    assert_same(killable(config, loaded, resume=True), whole)


def test_killed_twice_with_sparse_checkpoints(demo_shard, tmp_path):
    loaded = load(config_of(meta=demo_shard))
    whole = killable(short(demo_shard, tmp_path / "whole", checkpoint_interval=3), loaded)
    config = short(demo_shard, tmp_path / "killed", checkpoint_interval=3)
    with pytest.raises(Killed):
        killable(config, loaded, 6)
    with pytest.raises(Killed):
        killable(config, loaded, 4, resume=True)
    assert_same(killable(config, loaded, resume=True), whole)


def test_what_stands_in_the_way(demo_shard, tmp_path):
    loaded = load(config_of(meta=demo_shard))
    config = short(demo_shard, tmp_path)
    with pytest.raises(Killed):
        killable(config, loaded, 3)
    with pytest.raises(UsageError, match=r"run holds an unfinished run; give --resume to go on, or another --out"):
        prepare(config.folder)
    with pytest.raises(UsageError, match=r"is of a run with lr = 0\.1, now 0\.2; use another --out"):
        killable(short(demo_shard, tmp_path, lr=0.2), loaded, resume=True)
    path = config.folder / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(
        InputError, match=r"checkpoint\.safetensors: damaged checkpoint \(.*\); remove it and start anew"
    ):
        killable(config, loaded, resume=True)
    path.unlink()
    with pytest.raises(
        InputError, match=r"checkpoint\.safetensors: no checkpoint to resume from; run without --resume"
    ):
        killable(config, loaded, resume=True)


def test_the_file_is_replaced_atomically(demo_shard, tmp_path, monkeypatch):
    loaded = load(config_of(meta=demo_shard))
    config = short(demo_shard, tmp_path)
    with pytest.raises(Killed):
        killable(config, loaded, 3)
    before = (config.folder / "checkpoint.safetensors").read_bytes()
    monkeypatch.setattr("clp_aug.nets.state.to_bytes", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(InputError, match=r"cannot write .*checkpoint\.safetensors \(No space left\)"):
        killable(config, loaded, resume=True)
    assert (config.folder / "checkpoint.safetensors").read_bytes() == before
    assert isinstance(file_of(config, loaded), Checkpoint)


def test_backgrounds_are_not_learnt_again(demo_shard, tmp_path):
    """Killed in the first epoch, long before a state is due: learning them took as long as a run."""
    calls, loaded = [], load(config_of(meta=demo_shard))
    settings = {"method": "clp", "omega_start": "background", "checkpoint_interval": 1000, "epochs": 1}
    usual = assemble(short(demo_shard, tmp_path, **settings), loaded).backgrounds

    def counted(watch):
        calls.append(watch)
        return usual(watch)

    whole = killable(short(demo_shard, tmp_path / "whole", **settings), loaded, backgrounds=counted)
    config = short(demo_shard, tmp_path / "killed", **settings)
    with pytest.raises(Killed):
        killable(config, loaded, kill_at=1, backgrounds=counted)
    assert_same(killable(config, loaded, resume=True, backgrounds=counted), whole)
    assert len(calls) == 2, "once a run"


@pytest.mark.parametrize("kill_at", [3, 5])
def test_a_state_of_before_begun_was_kept_is_gone_on_with(demo_shard, tmp_path, kill_at):
    """It said so by the losses of the epoch under way; an epoch has four steps here."""
    loaded = load(config_of(meta=demo_shard))
    settings = {"method": "erm", "epochs": 2}
    whole = killable(short(demo_shard, tmp_path / "whole", **settings), loaded)
    config = short(demo_shard, tmp_path / "killed", **settings)
    with pytest.raises(Killed):
        killable(config, loaded, kill_at)
    checkpoint = file_of(config, loaded)
    plain, tensors = read_state(checkpoint.path, checkpoint.key)
    assert plain.pop("begun") == bool(plain["losses"])
    write_state(checkpoint.path, checkpoint.key, plain, tensors)
    assert_same(killable(config, loaded, resume=True), whole)
