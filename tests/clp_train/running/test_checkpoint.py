"""A killed run goes on bit by bit; a checkpoint of another run, or a damaged one, is refused in one line."""

import copy
from dataclasses import replace

import pytest
import torch

from clp_aug.contract.errors import InputError, UsageError
from clp_aug.nets.state import read_state, write_state
from clp_train.loading.data import digest_of_pictures
from clp_train.methods import METHODS
from clp_train.run_folder import checkpoint_of, prepare
from clp_train.running import loop
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
    [
        {"meta_step": "lagged"},
        {"hypergradient": "central"},
        {"virtual_momentum": True},
        {"meta_scope": "last-block"},
        {"optimiser": "adamw", "lr": 1e-3},
        {"optimiser": "adamw", "lr": 1e-3, "meta_step": "lagged", "method": "mwn"},
        {"optimiser": "adamw", "lr": 1e-3, "trainable": "head", "saliency_lambda": 0.0},
        {"warmup_epochs": 2},
    ],
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
    with pytest.raises(UsageError, match=r"run holds an unfinished run; give --resume to continue, or another --out"):
        prepare(config.folder)
    with pytest.raises(UsageError, match=r"is of a run with lr = 0\.1, now 0\.2; choose another --out"):
        killable(short(demo_shard, tmp_path, lr=0.2), loaded, resume=True)
    path = config.folder / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(
        InputError, match=r"checkpoint\.safetensors: damaged checkpoint \(.*\); remove it and start again"
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


def killed(config, loaded, kill_at=3):
    """Kill a run after so many steps; return its checkpoint."""
    with pytest.raises(Killed):
        killable(config, loaded, kill_at)
    return file_of(config, loaded)


def one_pixel_changed(pictures):
    images = pictures.images.clone()
    images[-1, 0, 3, 3] ^= 1
    return replace(pictures, images=images)


@pytest.mark.parametrize("stream", ["train", "meta", "val", "test"])
def test_pictures_that_changed_since_the_kill_are_refused(demo_shard, loaded, tmp_path, stream):
    """Wherever they come from: the shard's tables and the data set's fingerprint are the same."""
    config = short(demo_shard, tmp_path, method="erm")
    killed(config, loaded)
    if stream in loaded.evaluation:
        part = {stream: one_pixel_changed(loaded.evaluation[stream])}
        changed = replace(loaded, evaluation={**loaded.evaluation, **part})
    else:
        changed = replace(loaded, **{stream: one_pixel_changed(getattr(loaded, stream))})
    message = r"checkpoint\.safetensors is of a run on other pictures than now; restore those, or choose another"
    with pytest.raises(UsageError, match=message):
        killable(config, changed, resume=True)


def test_pictures_in_memory_and_in_a_cache_are_the_same_to_a_checkpoint(demo_shard, loaded, tmp_path):
    cached = [load(config_of(meta=demo_shard, cache=tmp_path / "cache")) for _ in range(2)]
    digests = {digest_of_pictures(data) for data in (loaded, *cached)}
    assert len(digests) == 1


HEAD_RUNS = {
    "erm": {"batch_size": 40},
    "clp": {"saliency_lambda": 0.0},
    "crt": {"epochs": 6},
    "dfr": {"epochs": 6},
    "lws": {"epochs": 6},
    "tde": {},
}


@pytest.mark.parametrize("method", HEAD_RUNS)
def test_a_frozen_body_is_not_written_and_the_run_goes_on_bit_by_bit(demo_shard, loaded, tmp_path, method):
    settings = {"method": method, "trainable": "head", **HEAD_RUNS[method]}
    steps = []
    whole = killable(short(demo_shard, tmp_path / "whole", **settings), loaded, steps=steps)
    config = short(demo_shard, tmp_path / "killed", **settings)
    checkpoint = killed(config, loaded, len(steps) - 1)
    _, tensors = read_state(checkpoint.path, checkpoint.key)
    written = {name.split(".")[1] for name in tensors if not name.startswith("method.")}
    assert written == {"head"}
    assert {name.split(".")[0] for name in tensors} >= {"network", "momentum", "selected"}
    again = killable(config, loaded, resume=True)
    assert_same(again, whole)
    assert again.last.state.keys() == again.selected.state.keys() == again.network.state_dict().keys()


def test_a_body_that_is_frozen_for_some_stages_only_is_written(demo_shard, loaded, tmp_path):
    config = short(demo_shard, tmp_path, method="crt", epochs=6)
    checkpoint = killed(config, loaded, 23)  # of 24, the last epochs of which are for the head
    plain, tensors = read_state(checkpoint.path, checkpoint.key)
    assert "body" not in plain
    assert {name.removeprefix("network.") for name in tensors if name.startswith("network.")} == set(
        assemble(config, loaded).network.state_dict()
    )


def test_another_frozen_body_is_refused(demo_shard, loaded, tmp_path):
    config = short(demo_shard, tmp_path, method="erm", trainable="head")
    checkpoint = killed(config, loaded)
    assembly = assemble(config, loaded)
    with torch.no_grad():
        next(assembly.network.parameters())[0] += 1e-6
    message = r"checkpoint\.safetensors: it is of a run with another frozen body; restore that, or choose ano"
    with pytest.raises(InputError, match=message):
        loop.train(assembly, checkpoint=checkpoint, resume=True)


ONE = torch.zeros(1)
MISFITS = {
    "a tensor is gone": (lambda plain, tensors: tensors.pop("network.head.weight"), "no tensor head.weight"),
    "a tensor more": (lambda plain, tensors: tensors.update({"network.x": ONE}), "an unknown tensor x"),
    "another shape": (
        lambda plain, tensors: tensors.update({"network.head.bias": ONE}),
        r"tensor head.bias is torch.float32 .1,., expected torch.float32 .2,.",
    ),
    "another type": (
        lambda plain, tensors: tensors.update({"network.head.bias": torch.zeros(2).double()}),
        r"tensor head.bias is torch.float64 .2,., expected torch.float32 .2,.",
    ),
    "no selected state": (lambda plain, tensors: tensors.pop("selected.head.bias"), "no tensor head.bias"),
    "momentum of nothing": (lambda plain, tensors: tensors.update({"momentum.x": ONE}), "an unknown tensor momentum.x"),
    "other momentum": (
        lambda plain, tensors: tensors.update({"momentum.head.bias": ONE}),
        "tensor momentum.head.bias is",
    ),
    "a count of steps": (
        lambda plain, tensors: tensors.update({"adam_step.head.bias": torch.zeros(2)}),
        r"tensor adam_step.head.bias is torch.float32 .2,., expected torch.float32 ..",
    ),
    "a method's state": (lambda plain, tensors: tensors.pop("method.network.last.weight"), "in loading state_dict"),
    "no step": (lambda plain, tensors: plain.pop("step"), "'step'"),
    "a step that is none": (lambda plain, tensors: plain.update(step="3"), "step '3'"),
    "a step below 0": (lambda plain, tensors: plain.update(step=-1), "step -1"),
    "losses": (lambda plain, tensors: plain.update(losses=[3]), "must be an iterable"),
    "history": (lambda plain, tensors: plain.update(history=[3]), "its history is no list of lines"),
    "metrics": (lambda plain, tensors: plain["selected"]["metrics"]["val"].update(x=1), "unexpected keyword argument"),
    "no split": (lambda plain, tensors: plain.update(selected={"epoch": 1}), "'metrics'"),
    "spent": (lambda plain, tensors: plain.update(spent=[1, 2, 3]), "positional arguments"),
}


@pytest.fixture(scope="module")
def stopped(demo_shard, loaded, tmp_path_factory):
    """A run, made but not begun, and the state of its second epoch."""
    config = short(demo_shard, tmp_path_factory.mktemp("stopped"), method="clp")
    checkpoint = killed(config, loaded, 6)
    return assemble(config, loaded), checkpoint.key, *read_state(checkpoint.path, checkpoint.key)


@pytest.mark.parametrize("what", MISFITS)
def test_a_state_that_does_not_fit_is_one_line(stopped, tmp_path, what):
    change, reason = MISFITS[what]
    assembly, key, plain, tensors = stopped
    plain, tensors = copy.deepcopy(plain), dict(tensors)
    change(plain, tensors)
    checkpoint = Checkpoint(tmp_path / "checkpoint.safetensors", key)
    write_state(checkpoint.path, key, plain, tensors)
    message = rf"checkpoint\.safetensors: it is the state of another run \(.*({reason}).*\); remove it and start again$"
    with pytest.raises(InputError, match=message):
        checkpoint.load(assembly.network, assembly.method)
