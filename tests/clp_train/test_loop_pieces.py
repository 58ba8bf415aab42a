"""Pieces of a run: step sizes and schedules, frozen batch norm, the epoch that was best on test, metrics by epoch."""

import copy
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.func import functional_call
from torch.nn import functional as F

from clp_train import data, loop, runs
from clp_train.checkpoint import Position
from clp_train.config import TrainConfig
from clp_train.data import Batch
from clp_train.losses import meta_losses, saliency
from clp_train.methods import build_method
from clp_train.methods.base import TrainTable
from clp_train.metrics import Metrics
from clp_train.models import build_model
from clp_train.optimiser import build_optimiser, rate_factor, step_sizes
from clp_train.step import meta_objective, train_step

LAMBDA = 40.0  # so that the term weighs as much as the cross entropy
LABELS = torch.tensor([0] * 5 + [1] * 3 + [2] * 2)


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture(scope="module")
def loaded(demo_shard):
    return data.load(TrainConfig(meta=demo_shard))


def a_batch(seed, n, kind=(0,)):
    generator = torch.Generator().manual_seed(seed)
    inside = torch.zeros(n, 8, 8, dtype=torch.bool)
    inside[:, 2:6, 2:6] = True
    images = torch.rand(n, 3, 8, 8, dtype=torch.float64, generator=generator)
    label, kind = torch.arange(n) % 3, torch.tensor(kind, dtype=torch.uint8).repeat(n)[:n]
    return Batch(images, inside, label, label, kind, torch.arange(n))


def parts(method, **settings):
    """Return configuration, float64 network, method and optimiser; Omega is not zero."""
    config = TrainConfig(meta=Path("x.h5"), method=method, **settings)
    network = build_model("resnet8", 3, [0.5] * 3, [0.25] * 3, torch.Generator().manual_seed(0)).double().train()
    filled = build_method(config, TrainTable(LABELS, LABELS, 3, 3), torch.Generator().manual_seed(1))
    if filled.learned:
        filled.network.double()
        filled.classes = type(filled.classes)(*(v.double() for v in filled.classes))
        torch.nn.init.normal_(filled.network.last.weight, generator=torch.Generator().manual_seed(2))
    return config, network, filled, build_optimiser(network, config)


def rates_of(network, config):
    optimiser = build_optimiser(network, config)
    return dict(
        zip(dict(network.named_parameters()), step_sizes(dict(network.named_parameters()), optimiser), strict=True)
    )


def test_the_head_has_a_step_size_of_its_own():
    config, network, _, _ = parts("erm", lr=0.1, head_lr=0.7)
    assert {name: rate for name, rate in rates_of(network, config).items() if rate != 0.1} == {
        "head.weight": 0.7, "head.bias": 0.7
    }  # fmt: skip
    config, network, _, _ = parts("erm", lr=0.1)
    assert set(rates_of(network, config).values()) == {0.1}


def test_steps_with_two_step_sizes_are_those_of_sgd():
    config, network, method, optimiser = parts("erm", lr=0.1, head_lr=0.7)
    other = copy.deepcopy(network)
    body = [w for name, w in other.named_parameters() if not name.startswith("head.")]
    plain = torch.optim.SGD(
        [{"params": body, "lr": 0.1}, {"params": other.head.parameters(), "lr": 0.7}], 0.1, 0.9, weight_decay=5e-4
    )
    for step in range(3):
        batch = a_batch(step, 6)
        train_step(network, method, optimiser, batch, None, config, step)
        plain.zero_grad()
        F.cross_entropy(other(batch.images).logits, batch.label).backward()
        plain.step()
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, other.state_dict()[name])


def test_the_virtual_step_has_two_step_sizes_too():
    config, network, method, optimiser = parts("clp", lr=0.1, head_lr=0.7, saliency_lambda=0.0)
    net, batch, meta = copy.deepcopy(network), a_batch(0, 6), a_batch(1, 6, (0, 1, 2))
    out = net(batch.images)
    buffers = {name: value.clone() for name, value in net.named_buffers()}
    seen = SimpleNamespace(logits=out.logits.detach(), features=out.features.detach(), head=net.head.weight.detach())
    seen.label = seen.group = batch.label
    other = copy.copy(method)
    other.observe(seen)
    loss = F.cross_entropy(out.logits + other.terms(seen).delta.detach(), batch.label)
    weights = dict(net.named_parameters())
    gradients = dict(zip(weights, torch.autograd.grad(loss, weights.values()), strict=True))
    virtual = {n: w - (0.7 if n.startswith("head.") else 0.1) * gradients[n] for n, w in weights.items()}
    logits = functional_call(net, {**virtual, **buffers}, (meta.images,)).logits
    expected = meta_losses(logits, meta.label, meta.kind).mean().item()
    found = train_step(network, method, optimiser, batch, meta, config, 0)
    assert found.meta == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("lambda_", [0.0, 0.3])
def test_the_meta_loss_may_be_measured_as_in_evaluation(lambda_):
    """With running statistics each meta picture counts for itself; the training pass keeps those of its batch."""
    config, network, method, _ = parts("clp", meta_batch_norm="running", saliency_lambda=lambda_)
    meta, weights = a_batch(9, 6, [0, 1, 2] * 2), {n: w + 0.01 for n, w in network.named_parameters()}
    other = copy.deepcopy(network).eval()
    other.load_state_dict({n: w.detach() for n, w in weights.items()}, strict=False)
    before = {n: b.clone() for n, b in network.named_buffers()}
    found = meta_objective(network, weights, method, meta, config, 0).item()
    alone = []
    for k in range(6):
        one = a_batch(9, 6, [0, 1, 2] * 2)
        image, inside, label, kind = (getattr(one, name)[k : k + 1] for name in ("images", "inside", "label", "kind"))
        image.requires_grad_()
        logits = other(image).logits
        alone.append(meta_losses(logits, label, kind) + lambda_ * saliency(image, logits, inside, label, "probability"))
    assert found == pytest.approx(torch.cat(alone).mean().item(), rel=1e-10)
    assert all(module.training for module in network.modules())
    assert all(torch.equal(b, before[n]) for n, b in network.named_buffers())
    plain = replace(config, meta_batch_norm="batch")
    assert meta_objective(network, weights, method, meta, plain, 0).item() != pytest.approx(found, rel=1e-3)


SCHEDULES = {  # of a stage of five epochs
    "constant": [1, 1, 1, 1, 1],
    "cosine": [1, 0.9045084971874737, 0.6545084971874737, 0.34549150281252633, 0.09549150281252627],
    "steps": [1, 1, 1, 0.1, 0.01],
}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules(schedule):
    config = TrainConfig(meta=Path("x.h5"), schedule=schedule)
    assert [rate_factor(config, epoch, 5) for epoch in range(5)] == pytest.approx(SCHEDULES[schedule])
    assert rate_factor(config, 0, 1) == 1


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_a_run_follows_its_schedule(loaded, demo_shard, schedule, monkeypatch):
    """Both step sizes, each epoch; a stage starts the schedule anew."""
    used = []

    def note(network, method, optimiser, batch, meta, config, step, progress):
        used.append(set(step_sizes(dict(network.named_parameters()), optimiser)))
        return train_step(network, method, optimiser, batch, meta, config, step)

    monkeypatch.setattr(loop, "train_step", note)
    config = TrainConfig(meta=demo_shard, method="dfr", epochs=4, batch_size=80, lr=0.1, head_lr=0.3, schedule=schedule)
    trained = loop.train(config, loaded)
    factors = [1, 1, 1, 1] if schedule == "constant" else [1, 0.5, 1, 0.5]
    assert [line["lr"] for line in trained.history] == pytest.approx([0.1 * f for f in factors])
    assert [sorted(rates) for rates in used[:2]] == [pytest.approx([0.1 * f, 0.3 * f]) for f in factors[:2]]
    assert [sorted(rates) for rates in used[2:]] == [pytest.approx([0.3 * f]) for f in factors[2:]]


@pytest.mark.parametrize("method", ["erm", "clp"])
def test_frozen_batch_norm_keeps_its_statistics(loaded, demo_shard, method):
    start = build_model(
        "resnet8", 2, *data.channel_statistics(loaded.train.images), data.generator_for(0, 0, "network")
    )
    config = TrainConfig(meta=demo_shard, method=method, epochs=1, batch_size=40, freeze_batch_norm=True, lr=0.01)
    frozen = loop.train(config, loaded).last.state
    moved = loop.train(TrainConfig(meta=demo_shard, method=method, epochs=1, batch_size=40, lr=0.01), loaded).last.state
    names = [name for name, _ in start.named_buffers()]
    assert any("running_mean" in name for name in names)
    assert all(torch.equal(frozen[name], start.get_buffer(name)) for name in names)
    assert not torch.equal(moved["bn.running_mean"], start.bn.running_mean)
    assert all(not torch.equal(frozen[name], w) for name, w in start.named_parameters() if "bn" in name)


def test_watching_test_gives_its_best_epoch(loaded, demo_shard):
    settings = {"meta": demo_shard, "method": "erm", "epochs": 5, "batch_size": 20}
    watched = loop.train(TrainConfig(watch_test=True, **settings), loaded)
    plain = loop.train(TrainConfig(**settings), loaded)
    averages = [line["test_average"] for line in watched.history]
    assert watched.best_on_test.metrics["test"].average == max(averages)
    assert watched.best_on_test.epoch == 1 + averages.index(max(averages))  # the first of several
    assert len(set(averages)) > 1
    assert plain.best_on_test is None
    assert ["test_average" in line for line in plain.history] == [False] * 4 + [True]
    assert plain.selected.epoch == watched.selected.epoch  # to look is not to choose
    assert all(torch.equal(value, watched.last.state[name]) for name, value in plain.last.state.items())
    result = runs.result_of(TrainConfig(watch_test=True, **settings), loaded, watched, {})
    assert result["best_on_test"]["metrics"]["test"]["average"] == max(averages)
    assert runs.result_of(TrainConfig(**settings), loaded, plain, {})["best_on_test"] is None


def test_of_equal_epochs_the_first_is_best_on_test_and_the_last_is_selected(loaded, demo_shard, monkeypatch):
    done = []

    def scripted(network, pictures, classes, train_counts, judged, strata):
        value = [0.5, 0.7, 0.7, 0.6, 0.0][len(done)]
        return Metrics(value, value, value, (), (), (), ())

    monkeypatch.setattr(loop, "evaluate", scripted)
    config = TrainConfig(meta=demo_shard, method="erm", epochs=4, batch_size=80, watch_test=True)
    trained = loop.train(config, loaded, on_epoch=lambda history: done.append(len(history)))
    assert done == [1, 2, 3, 4]
    assert (trained.best_on_test.epoch, trained.selected.epoch) == (2, 3)


def run_with_metrics(config, loaded, kill_at=None, resume=False):
    """Train as clp-train does, metrics.jsonl included; be killed in a step, or at an epoch's end ("epoch 2")."""
    runs.prepare(config.folder, resume)

    def on_step(done):
        if done.step == kill_at:
            raise Killed

    def on_epoch(history):
        runs.write_metrics(config.folder, history)
        if f"epoch {len(history)}" == kill_at:
            raise Killed

    return loop.train(config, loaded, on_step, on_epoch, runs.checkpoint_of(config, loaded), resume)


def test_metrics_are_a_line_an_epoch_killed_or_not(loaded, demo_shard, tmp_path):
    def config_for(name):
        return TrainConfig(
            meta=demo_shard, method="clp", epochs=3, batch_size=40, checkpoint_interval=1, watch_test=True,
            saliency_interval=2, out=tmp_path / name,
        )  # fmt: skip

    trained = run_with_metrics(config_for("whole"), loaded)
    whole = (tmp_path / "whole" / runs.METRICS).read_text()
    assert [json.loads(line) for line in whole.splitlines()] == trained.history
    assert whole.endswith("}\n")
    assert [json.loads(line)["epoch"] for line in whole.splitlines()] == [1, 2, 3]
    keys = {"epoch", "lr", "train_loss", "meta_loss", "saliency_loss"}
    keys |= {f"{split}_{key}" for split in ("val", "test") for key in ("worst", "average", "weighted_average")}
    assert set(json.loads(whole.splitlines()[0])) == keys
    for kill_at, lines in ((2, 0), (3, 1), (4, 1), ("epoch 2", 2)):
        config = config_for(f"killed {kill_at}")
        with pytest.raises(Killed):
            run_with_metrics(config, loaded, kill_at)
        path = config.folder / runs.METRICS
        before = path.read_text() if path.exists() else ""
        assert before == "".join(whole.splitlines(keepends=True)[:lines])
        again = run_with_metrics(config, loaded, resume=True)
        assert path.read_text() == whole
        assert again.best_on_test.epoch == trained.best_on_test.epoch
        assert again.best_on_test.metrics == trained.best_on_test.metrics


def test_metrics_replace_the_file_whole(tmp_path):
    runs.write_metrics(tmp_path, [{"epoch": 1, "train_loss": 0.5, "meta_loss": None}, {"epoch": 2}])
    assert (
        tmp_path / "metrics.jsonl"
    ).read_text() == '{"epoch": 1, "train_loss": 0.5, "meta_loss": null}\n{"epoch": 2}\n'
    runs.write_metrics(tmp_path, [{"epoch": 1}])
    assert (tmp_path / "metrics.jsonl").read_text() == '{"epoch": 1}\n'
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_numbers_on_the_board(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = runs.board_of(tmp_path)
    for epoch in (1, 2):
        runs.show_on(board, {"epoch": epoch, "lr": 0.1, "train_loss": 0.5 / epoch, "meta_loss": None})
    assert list((tmp_path / "tensorboard").glob("events.out.tfevents.*"))  # on disk before it is closed
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert sorted(events.Tags()["scalars"]) == ["lr", "train_loss"]
    assert [(e.step, e.value) for e in events.Scalars("train_loss")] == [(1, 0.5), (2, 0.25)]
    board.close()


def test_without_the_package_there_is_no_board(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "find_spec", lambda name: None)
    assert runs.board_of(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def eq_6_of_first(net, weights, batch, k):
    """Return the mean of eq. (6) over the first k pictures, in a plain pass of theirs with statistics of their own."""
    images = batch.images[:k].detach().clone().requires_grad_()
    buffers = {name: value.clone() for name, value in net.named_buffers()}
    logits = functional_call(net, {**weights, **buffers}, (images,)).logits
    return saliency(images, logits, batch.inside[:k], batch.label[:k], "probability").mean()


@pytest.mark.parametrize(("share", "k"), [(0.75, 6), (0.45, 4), (0.01, 2)])
def test_saliency_on_a_subset_is_by_hand(share, k):
    config, network, method, optimiser = parts("clp", saliency_lambda=LAMBDA, saliency_subset=share, weight_decay=0.0)
    net, batch = copy.deepcopy(network), a_batch(0, 8)
    seen, really = [], method.terms

    def terms(view):
        found = really(view)
        seen.append(found.delta.detach())
        return found

    method.terms = terms
    losses = train_step(network, method, optimiser, batch, None, config, 0)
    weights = dict(net.named_parameters())
    term = LAMBDA * eq_6_of_first(net, weights, batch, k)
    ce = F.cross_entropy(net(batch.images).logits + seen[-1], batch.label)
    gradients = torch.autograd.grad(ce + term, weights.values())
    assert losses.saliency == pytest.approx(term.item(), rel=1e-10)
    assert losses.saliency > 0.01 * losses.train
    for w, expected in zip(network.parameters(), gradients, strict=True):
        torch.testing.assert_close(w.grad, expected, rtol=1e-9, atol=1e-12)
    for name, buffer in net.named_buffers():  # moved by the pass of the whole batch alone
        torch.testing.assert_close(network.get_buffer(name), buffer)


@pytest.mark.parametrize(("share", "k"), [(0.5, 3), (0.01, 2)])
def test_saliency_on_a_subset_of_the_meta_batch(share, k):
    config, network, method, _ = parts("clp", saliency_lambda=LAMBDA, saliency_subset=share)
    meta, weights = a_batch(1, 6, (0, 1, 2)), dict(network.named_parameters())
    buffers = {name: value.clone() for name, value in network.named_buffers()}
    logits = functional_call(network, {**weights, **buffers}, (meta.images,)).logits
    expected = meta_losses(logits, meta.label, meta.kind).mean() + LAMBDA * eq_6_of_first(network, weights, meta, k)
    found = meta_objective(network, weights, method, meta, config, 0)
    assert found.item() == pytest.approx(expected.item(), rel=1e-10)
    pairs = (torch.autograd.grad(value, tuple(weights.values())) for value in (found, expected))
    for a, b in zip(*pairs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def measured_as(worst, average, weighted):
    return Metrics(average, weighted, worst, (average,), (worst, average), (2,), (1, 1))


SELECTIONS = {  # (worst, average, weighted average) of val in four epochs -> the one that is kept, from 1
    "the worst group decides": ([(0.2, 0.9, 0.9), (0.5, 0.6, 0.6), (0.4, 0.9, 0.9), (0.1, 1, 1)], 2),
    "then the plain average": ([(0.5, 0.6, 0.9), (0.5, 0.8, 0.6), (0.5, 0.7, 0.9), (0.4, 1, 1)], 2),
    "then the later epoch": ([(0.5, 0.6, 0.9), (0.5, 0.6, 0.6), (0.4, 0.9, 0.9), (0.4, 1, 1)], 2),
    "the weighted average never": ([(0.5, 0.7, 0.1), (0.5, 0.6, 0.9), (0.5, 0.6, 1), (0.4, 1, 1)], 1),
}


@pytest.mark.parametrize(("val", "kept"), SELECTIONS.values(), ids=SELECTIONS)
def test_selection_is_by_the_worst_group_of_val_for_every_method(val, kept):
    network, at = torch.nn.Linear(2, 2), Position()
    for epoch, numbers in enumerate(val):
        torch.nn.init.constant_(network.bias, epoch + 1)
        test = measured_as(0.1 * epoch, 0.1 * epoch, 0.1 * epoch)  # the last is the best by test, and is not kept
        loop.conclude_epoch(at, network, {"val": measured_as(*numbers), "test": test}, 0.1, watch_test=True)
    assert at.selected.epoch == kept
    assert at.selected.state["bias"].tolist() == [kept, kept]
    assert at.best.epoch == 4
    for line, (worst, average, weighted) in zip(at.history, val, strict=True):
        assert (line["val_worst"], line["val_average"], line["val_weighted_average"]) == (worst, average, weighted)


def test_what_is_reported_names_its_average(loaded, demo_shard):
    config = TrainConfig(meta=demo_shard, method="erm", epochs=1, batch_size=40)
    result = runs.result_of(config, loaded, loop.train(config, loaded), {})
    assert result["average_weights"] == list(loaded.weights) == [1425, 75, 75, 1425]
    test = result["last"]["metrics"]["test"]
    assert {"average", "weighted_average", "worst"} < set(test)
    weighted = np.average(test["per_group"], weights=result["average_weights"])
    assert test["weighted_average"] == pytest.approx(weighted)
