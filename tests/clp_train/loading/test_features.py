"""A head on the features of a frozen body: the head learns, nothing else moves."""

import copy
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.metadata import version

import pytest
import torch

from clp_aug.contract.errors import InputError, SettingError
from clp_train.config import spell_option
from clp_train.evaluating.metrics import evaluate
from clp_train.evaluating.outputs import BATCH
from clp_train.loading.data import channel_statistics
from clp_train.loading.features import Probe, made_in, probe_of
from clp_train.models import build_model
from clp_train.models.parts import last_block, start_linear
from clp_train.pictures.keys import generator_for
from clp_train.pictures.types import as_input
from tests.clp_train.builders import config_of, train


def a_network(run, seed=0):
    """Return the network that a run of this seed starts from."""
    statistics = channel_statistics(run.train.images)
    return build_model("resnet8", 2, *statistics, generator_for(seed, 0, "network"))


def body_of(state):
    return {name: value for name, value in state.items() if not name.startswith("head.")}


def assert_equal(a, b):
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert torch.equal(value, b[name]), name


def test_features_are_those_of_evaluation_mode(loaded):
    network = a_network(loaded).train()
    network.bn.running_mean += 0.3  # so that evaluation mode is something else than training mode
    before = copy.deepcopy(network.state_dict())
    _, run = probe_of(network, loaded)
    assert not network.training
    assert_equal(network.state_dict(), before)
    assert len(loaded.evaluation["test"]) > BATCH
    pairs = [(loaded.train, run.train), (loaded.meta, run.meta)]
    pairs += [(loaded.evaluation[name], run.evaluation[name]) for name in ("val", "test")]
    for pictures, vectors in pairs:
        with torch.no_grad():
            expected = network(as_input(pictures.images)).features
        torch.testing.assert_close(vectors.images, expected)
        assert vectors.images.dtype == torch.float32
        assert not vectors.images.requires_grad
        rest = {name: values for name, values in vars(pictures).items() if name != "images"}
        assert_equal(rest, {name: values for name, values in vars(vectors).items() if name != "images"})
    assert (run.header, run.group_names, run.digest) == (loaded.header, loaded.group_names, loaded.digest)
    assert loaded.train.images.dtype == torch.uint8


def test_cached_features_are_the_same_and_are_made_once_for_one_body(loaded, tmp_path, monkeypatch):
    network, plain = a_network(loaded), probe_of(a_network(loaded), loaded, background=True)[1]
    for _ in range(2):
        run = probe_of(network, loaded, background=True, cache=tmp_path / "c")[1]
        for name in ("train", "meta", "background"):
            assert torch.equal(getattr(run, name).images, getattr(plain, name).images), name
        assert all(torch.equal(run.evaluation[name].images, plain.evaluation[name].images) for name in plain.evaluation)
        assert len(list((tmp_path / "c").iterdir())) == 5
        monkeypatch.setattr(network, "forward", None)  # the second time nothing is computed
    network = a_network(loaded)
    start_linear(network.head, torch.Generator().manual_seed(7))
    monkeypatch.setattr(network, "forward", None)
    probe_of(network, loaded, cache=tmp_path / "c")  # another head has the same features
    other = a_network(loaded, seed=1)
    expected = probe_of(other, loaded)[1].train.images
    assert torch.equal(probe_of(other, loaded, cache=tmp_path / "c")[1].train.images, expected), "another body has not"


def test_another_precision_version_or_code_is_another_file(loaded, tmp_path, monkeypatch):
    network, files = a_network(loaded), []

    def names(**settings):
        before = set(files)
        probe_of(network, loaded, cache=tmp_path, **settings)
        files.extend(path.name for path in tmp_path.iterdir() if path.name not in before)
        return len(set(files) - before)

    assert names() == 4
    assert names() == 0
    assert names(precision="bf16") == 4
    assert names(code="model.py 0123") == 4, "a user's own code may change under the same weights"
    monkeypatch.setattr("clp_train.loading.features.version", lambda name: "9.9")
    assert names() == 4
    monkeypatch.setattr(torch, "__version__", "9.9")
    assert names() == 4
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "another chip's")
    assert names() == 4
    assert names() == 0


def test_another_size_and_other_pictures_are_other_files(loaded, tmp_path):
    network = a_network(loaded)
    probe_of(network, loaded, cache=tmp_path)
    smaller = replace(loaded, train=replace(loaded.train, images=loaded.train.images[:, :, 2:, 2:].contiguous()))
    other = loaded.train.images.clone()
    other[0, 0, 0, 0] ^= 1
    for run in (smaller, replace(loaded, train=replace(loaded.train, images=other))):
        before = set(tmp_path.iterdir())
        found = probe_of(network, run, cache=tmp_path)[1].train.images
        assert len(set(tmp_path.iterdir()) - before) == 1, "val, test and meta are found"
        assert torch.equal(found, probe_of(network, run)[1].train.images)


def test_it_tells_what_was_read_and_what_was_computed(loaded, tmp_path):
    network, told = a_network(loaded), []
    everything = len(loaded.train) + len(loaded.meta) + sum(map(len, loaded.evaluation.values()))
    for cache in (None, tmp_path, tmp_path):
        probe_of(network, loaded, cache=cache, note=told.append)
    probe_of(network, loaded, background=True, cache=tmp_path, note=told.append)
    of_all = f"features of {everything:,} pictures"
    assert told == [
        f"{of_all} computed for this run only; set cache to keep them",
        f"{of_all} computed and kept in {tmp_path}",
        f"{of_all} read from {tmp_path}",
        f"features of {len(loaded.train):,} pictures computed and kept in {tmp_path}, of {everything:,} read from"
        " there",
    ]


def test_damaged_features_are_refused_in_one_line(loaded, tmp_path):
    network = a_network(loaded)
    probe_of(network, loaded, cache=tmp_path)
    for path in tmp_path.iterdir():
        content = bytearray(path.read_bytes())
        content[7] ^= 1
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"damaged cache \(block 1 of 1, rows 0 to \d+: other bytes .*\); remove it$"):
        probe_of(network, loaded, cache=tmp_path)


def test_two_runs_at_once_make_each_file_once_and_find_the_same(loaded, tmp_path):
    networks = [a_network(loaded) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(lambda network: probe_of(network, loaded, cache=tmp_path)[1], networks))
    expected = probe_of(networks[0], loaded)[1].train.images
    assert all(torch.equal(run.train.images, expected) for run in runs)
    assert len(list(tmp_path.glob("*"))) == 4


@pytest.mark.parametrize("precision", ["float32", "tf32"])
def test_what_features_are_made_in(precision, monkeypatch):
    here = Probe(torch.nn.Linear(2, 2))
    chip = torch.backends.cpu.get_cpu_capability()
    found, ours = made_in(here, precision, "x.py 01"), version("causal-logit-perturbation")
    assert found == ("cpu", f"{sys.platform} {chip}", precision, torch.__version__, ours, repr(here), "x.py 01")
    monkeypatch.setattr("clp_train.loading.features.name_of", lambda device: "a chip")
    assert made_in(Probe(torch.nn.Linear(2, 2, device="meta")), precision)[:3] == ("meta", "a chip", precision)


def test_a_body_that_learns_is_not_cached(demo_shard, loaded, tmp_path):
    for trainable, files in (("all", 0), ("head", 4)):
        cache = tmp_path / trainable
        config = config_of(
            meta=demo_shard, method="crt", epochs=6, batch_size=60, cache=cache, trainable=trainable
        )  # fmt: skip
        train(config, loaded)
        assert len(list(cache.glob("*"))) == files


def test_it_shares_the_head(loaded):
    network = a_network(loaded)
    probe, run = probe_of(network, loaded)
    assert isinstance(probe, Probe)
    assert probe.head is network.head
    assert last_block(probe) == ("head.weight", "head.bias")
    out = probe(run.meta.images)
    assert out.features is run.meta.images
    torch.testing.assert_close(out.logits, network(as_input(loaded.meta.images)).logits)


def test_training_it_changes_the_head_of_the_network_and_nothing_else(loaded):
    network = a_network(loaded)
    probe, run = probe_of(network, loaded)
    before = copy.deepcopy(network.state_dict())
    optimiser = torch.optim.SGD(probe.parameters(), 0.1)
    probe.train()
    torch.nn.functional.cross_entropy(probe(run.train.images).logits, run.train.label).backward()
    optimiser.step()
    after = network.state_dict()
    assert_equal(body_of(after), body_of(before))
    assert not torch.equal(after["head.weight"], before["head.weight"])
    assert not torch.equal(after["head.bias"], before["head.bias"])
    assert all(w.grad is None for name, w in network.named_parameters() if not name.startswith("head."))


@pytest.mark.parametrize("method", ["erm", "mwn", "group-sample", "meta-lp", "clp", "meta-only"])
def test_a_run_of_the_head_leaves_the_body_bit_by_bit(loaded, demo_shard, method):
    config = config_of(
        meta=demo_shard, method=method, trainable="head", saliency_lambda=0.0, epochs=2, batch_size=40, lr=0.5
    )
    start, trained = a_network(loaded).state_dict(), train(config, loaded)
    for state in (trained.last.state, trained.selected.state, trained.network.state_dict()):
        assert_equal(body_of(state), body_of(start))
    assert not torch.equal(trained.last.state["head.weight"], start["head.weight"])
    expected = evaluate(trained.network, loaded.evaluation["test"], 2, [20] * 4)
    assert trained.selected.metrics["test"] == expected  # of features then, of pictures now


def test_the_head_learns_as_on_vectors(loaded, demo_shard):
    """One step of the run by hand: plain SGD of a linear layer on the features, decay and momentum included."""
    config = config_of(meta=demo_shard, method="erm", trainable="head", epochs=1, batch_size=80, lr=0.3)
    network = a_network(loaded).eval()
    with torch.no_grad():
        features = network(as_input(loaded.train.images)).features
    optimiser = torch.optim.SGD(network.head.parameters(), 0.3, 0.9, weight_decay=config.sgd.weight_decay)
    torch.nn.functional.cross_entropy(network.head(features), loaded.train.label).backward()
    optimiser.step()
    found = train(config, loaded).last.state
    torch.testing.assert_close(found["head.weight"], network.head.weight.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found["head.bias"], network.head.bias.detach(), rtol=1e-5, atol=1e-6)


def test_dfr_is_erm_and_then_a_new_head(loaded, demo_shard):
    settings = {"meta": demo_shard, "batch_size": 40, "schedule": "constant"}
    erm = train(config_of(method="erm", epochs=1, **settings), loaded)
    dfr = train(config_of(method="dfr", epochs=2, **settings), loaded)
    assert_equal(body_of(dfr.last.state), body_of(erm.last.state))
    assert not torch.equal(dfr.last.state["head.weight"], erm.last.state["head.weight"])


def test_the_new_head_is_drawn_anew(loaded, demo_shard):
    config = config_of(meta=demo_shard, method="dfr", options={"fit": "sgd"}, epochs=2, batch_size=40, lr=1e-9, seed=3)
    expected = torch.nn.Linear(64, 2)
    start_linear(expected, generator_for(3, 1, "fresh head"))
    found = train(config, loaded).last.state
    torch.testing.assert_close(found["head.weight"], expected.weight.detach())
    torch.testing.assert_close(found["head.bias"], expected.bias.detach())


def test_a_head_that_learns_from_meta_pictures_stands_in_nobodys_way(loaded, demo_shard):
    """Its stage has no meta step, so nothing that acts there concerns it."""
    config = config_of(meta=demo_shard, method="dfr", epochs=2, batch_size=40, online="fgsm")
    assert len(train(config, loaded).history) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"method": "clp"},
            "--set trainable=head: eq. (6) acts on the body; train the whole network, or leave the term out;"
            " take --saliency-lambda 0",
        ),
        (
            {"method": "clp", "saliency_lambda": 0.0, "online": "fgsm"},
            "--set online=fgsm: features of a frozen body are computed once; take --set online=none",
        ),
        (
            {"method": "clp", "saliency_lambda": 0.0, "online": "mix-rand"},
            "--set online=mix-rand: features of a frozen body are computed once; take --set online=none",
        ),
    ],
    ids=["saliency", "fgsm", "mix-rand"],
)
def test_what_a_head_alone_cannot_do(loaded, demo_shard, change, message):
    with pytest.raises(SettingError) as error:
        train(config_of(meta=demo_shard, trainable="head", epochs=1, **change), loaded)
    assert error.value.spelt(spell_option) == message, "as the command line says it"


@pytest.mark.parametrize("method", ["erm", "meta-lp"])
def test_a_run_is_the_same_without_a_cache_with_a_new_one_and_with_one_that_is_there(
    loaded, demo_shard, tmp_path, method
):
    settings = {"meta": demo_shard, "method": method, "trainable": "head", "epochs": 2, "batch_size": 40}
    first, *others = [train(config_of(**settings, cache=cache), loaded) for cache in (None, tmp_path, tmp_path)]
    for other in others:
        assert_equal(first.last.state, other.last.state)
        assert first.history == other.history
