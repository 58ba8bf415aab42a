"""What a run does besides its steps, on the second device: states on disk, reports, exports, frozen bodies."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from clp_aug.common.progress import unwatched
from clp_train.evaluating.attention import look_at
from clp_train.evaluating.gradcam import gradcam
from clp_train.evaluating.metrics import predict
from clp_train.evaluating.outputs import score, score_backgrounds
from clp_train.methods import METHODS
from clp_train.pictures.types import as_input
from clp_train.running import loop
from clp_train.running.assembly import assemble
from clp_train.running.checkpoint import Checkpoint
from clp_train.running.export import export_classifier
from tests.clp_train.builders import config_of, load
from tests.clp_train.resuming import Killed
from tests.shadow import second_device
from tests.shadow.both import assert_same, assert_same_on_both, assert_same_tensors, run_on, small

STATEFUL = {
    "erm": None, "clp": None, "mwn": None, "mfrw-mes": None, "metasaug": {"start": 0.0}, "risda": {"start": 0.0},
    "isda": {"covariance": "diag"}, "group-dro": None, "mentornet": {"curriculum": "dd", "burn_in": 0.5}, "glc": None,
    "csa": {"start": 0.0, "confidence": 0.2}, "ifl": {"first": 0.0}, "tde": None, "cnc": None, "crt": {"share": 0.5},
    "ace": {"tuning": 0.5}, "l2rw": None, "irm": {"anneal": 1},
}  # fmt: skip
SHADOW = second_device.NAME


def killed_after(step):
    """Return hooks with which the process ends after so many steps."""

    def on_step(done):
        if done.step == step:
            raise Killed

    return loop.Hooks(on_step)


@pytest.mark.parametrize("name", STATEFUL)
def test_killed_on_one_device_and_resumed_on_the_other(name, shard, run, tmp_path):
    """Where everything rounds alike, a run may even change devices: its state is the same file for all of them."""
    settings = {"epochs": 2, "checkpoint_interval": 1}
    whole = run_on("cpu", shard, run, name, STATEFUL[name], **settings)
    for first, second in (("cpu", SHADOW), (SHADOW, "cpu")):
        path = tmp_path / f"{first}-{second}.safetensors"
        with pytest.raises(Killed):
            run_on(first, shard, run, name, STATEFUL[name], Checkpoint(path, {}), hooks=killed_after(4), **settings)
        assert_same(whole, run_on(second, shard, run, name, STATEFUL[name], Checkpoint(path, {}), True, **settings))


def test_a_state_is_the_same_file_for_all_devices(shard, run, tmp_path):
    for device in ("cpu", SHADOW):
        checkpoint = Checkpoint(tmp_path / device, {})
        with pytest.raises(Killed):
            run_on(device, shard, run, "clp", None, checkpoint, hooks=killed_after(2), checkpoint_interval=1)
    one, other = (load_file(tmp_path / device) for device in ("cpu", SHADOW))
    assert_same_tensors(one, other)
    assert SHADOW.encode() not in (tmp_path / SHADOW).read_bytes()


@pytest.mark.parametrize("name", [n for n, e in METHODS.items() if "stages" not in e.needs and e.cost == "1"][:8])
def test_a_frozen_body(name, shard, run):
    assert_same_on_both(shard, run, name, trainable="head")


@pytest.mark.parametrize("name", ["clp", "mwn", "background-adjust", "group-dro"])
def test_a_frozen_body_and_more(name, shard, run):
    assert_same_on_both(shard, run, name, trainable="head", saliency_lambda=0.0)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A folder where decoded pictures stay."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def mapped(shard, run, cache):
    """The data of a run, mapped from the cache."""
    data = load(config_of(meta=shard, cache=cache))
    assert torch.equal(data.train.images, run.train.images)
    return replace(data, evaluation=run.evaluation, strata={})


@pytest.mark.parametrize("store", ["device", "memory", "mapped"])
@pytest.mark.parametrize("name", ["clp", "lisa", "train-infills", "csa", "ace", "glc"])
def test_wherever_pictures_live(name, store, shard, run, mapped, cache):
    options, settings = STATEFUL.get(name), {"epochs": 2, "transform": "pad-crop-flip"}
    cpu = run_on("cpu", shard, run, name, options, **settings)
    data, where = (mapped, {"cache": cache}) if store == "mapped" else (run, {})
    assert_same(cpu, run_on(SHADOW, shard, data, name, options, store=store, **settings, **where))


@pytest.mark.parametrize("store", ["memory", "mapped"])
@pytest.mark.parametrize("settings", [{"online": "mix-rand"}, {"online": "fgsm"}, {"meta_interval": 2}], ids=str)
def test_meta_pictures_are_sent_ahead(settings, store, shard, run, mapped, cache):
    data, where = (mapped, {"cache": cache}) if store == "mapped" else (run, {})
    settings = {"epochs": 2, "saliency_lambda": 0.0, **settings}
    cpu = run_on("cpu", shard, run, "clp", **settings)
    assert_same(cpu, run_on(SHADOW, shard, data, "clp", store=store, **settings, **where))


LOW = [
    ("erm", {}), ("mwn", {}), ("meta-lp", {"hypergradient": "forward", "freeze_batch_norm": True}), ("clp", {}),
    ("clp", {"meta_step": "lagged", "saliency_subset": 0.4}), ("isda", {}), ("csa", {}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "settings"), LOW, ids=str)
def test_in_bfloat16(name, settings, shard, run):
    whole = assert_same_on_both(shard, run, name, STATEFUL.get(name), precision="bf16", **settings)
    exact = run_on(SHADOW, shard, run, name, STATEFUL.get(name), **settings)
    assert not torch.equal(whole.trained.last.state["stem.weight"], exact.trained.last.state["stem.weight"])


@pytest.fixture(scope="module")
def networks(shard, run):
    """The same classifier on both devices, after a step."""
    found = []
    for device in ("cpu", SHADOW):
        assembly = assemble(small(shard, "erm", device), run)
        loop.train(assembly)
        found.append(assembly.network)
    return found


def test_evaluation(networks, run):
    one, other = ([predict(network, run.train.images), *score(network, run.train)[:2]] for network in networks)
    assert all(part.is_cpu for part in other)
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    one, other = (score_backgrounds(network, run.train) for network in networks)
    assert torch.equal(one.logits, other.logits)


def test_grad_cam(networks, run):
    images, label = as_input(run.train.images[:6]), run.train.label[:6]
    one, other = (gradcam(network, images, label) for network in networks)
    assert torch.equal(one, other)
    device = networks[1].head.weight.device
    assert torch.equal(one, gradcam(networks[1], images.to(device), label.to(device)).cpu())


def test_attention(networks, run):
    (one, looks), (other, seen) = (look_at(network, run.meta) for network in networks)
    assert one == other
    assert all(torch.equal(a, b) for mine, its in zip(looks, seen, strict=True) for a, b in zip(mine, its, strict=True))


def test_learnt_backgrounds(shard, run):
    one, other = (
        assemble(small(shard, "erm", device, epochs=2), run).backgrounds(unwatched) for device in ("cpu", SHADOW)
    )
    assert torch.equal(one.features, other.features)
    assert torch.equal(one.logits, other.logits)


def test_an_export_is_of_the_cpu(shard, run, tmp_path):
    """Last in this file: the network leaves its device."""
    pictures, logits = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0)), []
    for device in ("cpu", SHADOW):
        assembly = assemble(small(shard, "erm", device), run)
        loop.train(assembly)
        export_classifier(assembly.network, 16, tmp_path / f"{device}.pt2")
        program = torch.export.load(tmp_path / f"{device}.pt2")
        logits.append(program.module()(pictures))
    assert torch.equal(*logits)
    assert np.isfinite(logits[0].detach().numpy()).all()
