"""Automatic feature reweighting: weights, objective and clipped step by loops over numbers; the split; the stages."""

import math
import shutil
from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

from clp_aug.contract.errors import UsageError
from clp_aug.contract.seeds import rng_for
from clp_train.algorithm.objective import Terms, objective
from clp_train.algorithm.stages import Stage
from clp_train.algorithm.step import train_step
from clp_train.loading.features import Probe
from clp_train.methods.afr import reweighted
from clp_train.pictures.batching import steps_per_epoch
from clp_train.pictures.types import Batch
from clp_train.running.epochs import copy_state
from tests.clp_train.builders import config_of, generator, load, method_of, optimiser_of, step, train, view_of
from tests.clp_train.methods.head_alone import HeadAlone
from tests.clp_train.methods.shared_cases import assert_refused, probabilities
from tests.clp_train.methods.staged_toy import worst_group
from tests.clp_train.methods.subpop_cases import of_groups, random_table, seen, small_run
from tests.clp_train.resuming import Killed, assert_same, killable, short

ORACLES = ("afr",)
GAIN = 0.05
PLAIN = {"lr": 0.1, "momentum": 0.0, "weight_decay": 0.0, "schedule": "constant", "epochs": 4}


def slow_weights(logits, label, gamma):
    """Return mu by the formula, picture by picture."""
    often = Counter(label)
    raw = [math.exp(-gamma * probabilities(row)[y]) / often[y] for row, y in zip(logits, label, strict=True)]
    return [value / sum(raw) for value in raw]


@pytest.mark.parametrize("seed", range(30))
def test_weights_are_the_formula(seed):
    g = generator(seed)
    n, classes, gamma = 1 + seed, 2 + seed % 3, [0.0, 1.0, 10.0, 20.0][seed % 4]
    logits = 3 * torch.randn(n, classes, generator=g, dtype=torch.float64)
    label = torch.randint(classes, (n,), generator=g)
    found = reweighted(logits, label, gamma)
    assert found.tolist() == pytest.approx(slow_weights(logits.tolist(), label.tolist(), gamma), rel=1e-12)
    assert found.sum().item() == pytest.approx(1)


def test_without_gamma_all_classes_that_are_there_weigh_alike():
    label = torch.tensor([0, 0, 0, 2])
    assert reweighted(torch.randn(4, 4, generator=generator()), label, 0.0).tolist() == pytest.approx(
        [1 / 6] * 3 + [0.5]
    )


def test_weights_are_finite_at_a_high_gamma():
    found = reweighted(torch.tensor([[90.0, 0.0], [80.0, 0.0]]), torch.tensor([0, 0]), 1e6)
    assert found.tolist() == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("seed", range(20))
def test_the_two_parts_hold_every_picture_once(seed):
    table, _ = random_table(seed)
    share, n = [0.1, 0.2, 0.5, 0.9][seed % 4], len(table.label)
    method = method_of("afr", table, {"held_out": share}, seed=seed)
    held, seen_rows = method.held.tolist(), method.seen.tolist()
    assert sorted(held + seen_rows) == list(range(n))
    assert len(held) == round(share * n)
    same, other = (method_of("afr", table, {"held_out": share}, seed=s) for s in (seed, seed + 1))
    assert torch.equal(method.held, same.held)
    assert n < 20 or not torch.equal(method.held, other.held)


def test_every_picture_is_as_likely_to_be_held_out():
    table, often = of_groups([20, 2, 2, 1]), np.zeros(25)
    for seed in range(1000):
        often[method_of("afr", table, seed=seed).held] += 1
    assert np.abs(often - 200).max() < 5 * (1000 * 0.2 * 0.8) ** 0.5


@pytest.mark.parametrize(("epochs", "steps"), [(10, 500), (10, 7), (10, 1), (7, 23), (300, 500)])
def test_an_epoch_has_the_pictures_it_says(epochs, steps):
    table = of_groups([30, 3, 2, 16])
    method = method_of("afr", table, {"first": 0.6, "steps": steps}, epochs=epochs, batch_size=16)
    start, held, n = round(0.6 * epochs), method.held.tolist(), len(method.seen)
    assert method.stages == (Stage(share=0.6), Stage(share=0.4, trainable="head", rate=1 / 3))
    method.enter(0, HeadAlone(nn.Linear(2, 2)))
    for epoch in range(start):
        batches = method.batches(epoch, 16, rng_for(0, epoch, "order"))
        assert sorted(np.concatenate(batches).tolist()) == method.seen.tolist()
        assert len(batches) == steps_per_epoch(method.pictures(epoch), 16) == -(-n // 16)
    method.enter(1, HeadAlone(nn.Linear(2, 2)))
    told = []
    for epoch in range(start, epochs):
        batches = method.batches(epoch, 16, rng_for(0, epoch, "order"))
        assert all(rows.tolist() == held for rows in batches)
        assert len(batches) == steps_per_epoch(method.pictures(epoch), 16)
        told.append(len(batches))
    assert min(told) >= 1
    assert max(told) - min(told) <= 1
    assert sum(told) == max(steps, epochs - start)


def second_stage(table, seed, **options):
    """Return the method in its second stage, a head in float64, features of all pictures, and the configuration."""
    options = {"first": 0.5, "rate": 1.0, "gamma": 3.0, **options}
    method, g = method_of("afr", table, options, seed, **PLAIN), generator(seed)
    network = Probe(nn.Linear(5, table.classes)).double()
    for values in network.parameters():
        values.data = torch.randn(values.shape, generator=g, dtype=torch.float64)
    features = 2 * torch.randn(len(table.label), 5, generator=g, dtype=torch.float64)
    with torch.no_grad():
        method.begin_stage(1, {"train": network(features)}.__getitem__)
    method.enter(1, network)
    return method, network, features, config_of("afr", options=options, **PLAIN)


def held_batch(method, features, table):
    """Return the one batch that all steps of the second stage take."""
    (rows, *others) = map(torch.from_numpy, method.batches(2, 16, rng_for(0, 0, "order")))
    assert all(torch.equal(rows, more) for more in others)
    no_mask, kind = torch.zeros(len(rows), 0, 0, dtype=torch.bool), torch.zeros(len(rows), dtype=torch.uint8)
    return Batch(features[rows], no_mask, table.label[rows], table.group[rows], kind, rows, rows)


def slow_gradient(weight, bias, start, x, label, mu, pull):
    """Return the gradient of sum_i mu_i CE_i + pull ||W - W_0||^2, bias as the last column, by loops."""
    rows, columns = len(weight), len(weight[0]) + 1
    now = [[*weight[c], bias[c]] for c in range(rows)]
    gradient = [[2 * pull * (now[c][a] - start[c][a]) for a in range(columns)] for c in range(rows)]
    for features, y, share in zip(x, label, mu, strict=True):
        inputs = [*features, 1.0]
        p = probabilities([sum(w * value for w, value in zip(row, inputs, strict=True)) for row in now])
        for c in range(rows):
            for a in range(columns):
                gradient[c][a] += share * (p[c] - (c == y)) * inputs[a]
    return np.array(gradient)


@pytest.mark.parametrize("seed", range(12))
def test_steps_are_those_of_the_formula(seed):
    """Three steps: with and without a pull, with a norm that is scaled down, and one that is not."""
    table, _ = random_table(seed)
    pull, clip = [0.0, 0.3, 2.0][seed % 3], [0.05, 1.0, 100.0, 1.0][seed % 4]
    method, network, features, config = second_stage(table, seed, pull=pull, clip=clip, held_out=0.4)
    held = method.held.tolist()
    with torch.no_grad():
        mu = slow_weights(network(features[held]).logits.tolist(), table.label[held].tolist(), 3.0)
    assert method.weight[held].tolist() == pytest.approx(mu, rel=1e-12)
    assert method.weight.count_nonzero() == len(held)
    batch, optimiser = held_batch(method, features, table), optimiser_of(network, config)
    start = np.column_stack([network.head.weight.detach(), network.head.bias.detach()])
    for number in range(3):
        now = np.column_stack([network.head.weight.detach(), network.head.bias.detach()])
        gradient = slow_gradient(
            now[:, :-1].tolist(),
            now[:, -1].tolist(),
            start,
            features[held].tolist(),
            table.label[held].tolist(),
            mu,
            pull,
        )
        norm = float(np.sqrt((gradient**2).sum()))
        expected = now - 0.1 * min(1.0, clip / (norm + 1e-6)) * gradient
        step(network, method, optimiser, batch, None, config, number)
        np.testing.assert_allclose(network.head.weight.detach(), expected[:, :-1], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(network.head.bias.detach(), expected[:, -1], rtol=1e-9, atol=1e-12)


def test_the_objective_by_hand():
    """Without clipping: the sum over what is held, and the squared distance of weight and bias."""
    table = of_groups([4, 4, 4, 4])
    method, network, features, _ = second_stage(table, 0, pull=0.5, clip=1e9, held_out=0.5)
    batch = held_batch(method, features, table)
    with torch.no_grad():
        network.head.weight[0, 0] += 3.0
        network.head.bias[1] -= 1.0
    out = network(batch.images)
    penalty = method.penalty(out, batch, network)
    assert penalty.item() == pytest.approx(0.5 * (9 + 1))
    view = view_of(len(batch))._replace(logits=out.logits.detach(), label=batch.label, row=batch.row)
    losses = [-math.log(probabilities(z)[y]) for z, y in zip(out.logits.tolist(), batch.label.tolist(), strict=True)]
    expected = sum(mu * loss for mu, loss in zip(method.weight[method.held].tolist(), losses, strict=True))
    assert objective(out.logits, batch.label, method.terms(view)).item() == pytest.approx(expected, rel=1e-9)


def test_the_first_stage_is_erm():
    table, _ = random_table(2)
    method = method_of("afr", table)
    out, batch, view = seen(table, 2)
    assert method.terms(view) == Terms()
    assert method.penalty(out, batch, None) is None


@pytest.mark.parametrize("trainable", ["all", "head"])
def test_a_run_holds_out_a_fifth_and_then_moves_the_last_layer_alone(demo_shard, trainable):
    config = config_of(
        meta=demo_shard, method="afr", epochs=4, batch_size=20, lr=0.02, trainable=trainable,
        options={"first": 0.5, "steps": 30, "pull": 0.1},
    )  # fmt: skip
    run, learners, states, rows, told = small_run(config), [], [], [], []

    def watched(network, method, optimiser, batch, meta, rule, number, progress=0.0):
        learners.append(network)  # the first one is all that learns in the run
        states.append(copy_state(learners[0]))
        rows.append(batch.row)
        return train_step(network, method, optimiser, batch, meta, rule, number, progress)

    trained = train(config, run, train_step=watched, on_step=told.append)
    method, first = trained.method, 2 * -(-len(trained.method.seen) // 20)
    assert len(rows) == len(told) == told[-1].steps == first + 30
    assert Counter(torch.cat(rows[:first]).tolist()) == dict.fromkeys(method.seen.tolist(), 2)
    assert all(torch.equal(own, method.held) for own in rows[first:])
    assert method.weight.sum().item() == pytest.approx(1)
    at_start, at_end = states[first], trained.last.state
    assert {name for name, value in at_start.items() if not torch.equal(value, at_end[name])} == {
        "head.weight", "head.bias"
    }  # fmt: skip
    assert torch.equal(method.anchor["weight"], at_start["head.weight"])
    assert torch.equal(method.anchor["bias"], at_start["head.bias"])


LOSSES = {
    "weights": lambda state: state | {"weight": state["weight"].flip(0)},
    "anchor": lambda state: {"weight": state["weight"]},
}
"""What a resumed run may lose of the state."""


def test_a_resumed_run_needs_weights_and_anchor(demo_shard, tmp_path, monkeypatch):
    run = load(config_of(meta=demo_shard))

    def some(name):
        options = {"first": 0.5, "steps": 12, "pull": 0.5}
        return short(demo_shard, tmp_path / name, method="afr", lr=0.02, options=options, epochs=4)

    steps = []
    whole = killable(some("whole"), run, steps=steps)
    with pytest.raises(Killed):
        killable(some("killed"), run, len(steps) - 1)
    for name in LOSSES:
        shutil.copytree(some("killed").folder, some(name).folder)
    assert_same(killable(some("killed"), run, resume=True), whole)
    kind = type(whole.method)
    take_up = kind.load_state_dict
    for name, lose in LOSSES.items():
        monkeypatch.setattr(kind, "load_state_dict", lambda self, state, lose=lose: take_up(self, lose(state)))
        with pytest.raises(AssertionError):
            assert_same(killable(some(name), run, resume=True), whole)


def test_on_a_spurious_toy_the_worst_group_is_better_and_not_by_even_classes_alone():
    options = {"first": 0.75, "rate": 1.0, "gamma": 4.0, "steps": 200}
    found = worst_group("afr", options)
    assert found > worst_group("erm") + GAIN
    assert found > worst_group("afr", {**options, "gamma": 0.0}) + GAIN / 2


def test_refusals():
    assert_refused("afr", "first = 1.0: expected a number from 0.01 to 0.99", first=1.0)
    assert_refused("afr", "held_out = 0.0: expected a number from 1e-06 to 0.99", held_out=0.0)
    assert_refused("afr", "gamma = -1.0: expected a number >= 0", gamma=-1.0)
    assert_refused("afr", "pull = nan: expected a number >= 0", pull=float("nan"))
    assert_refused("afr", "clip = 0.0: expected a number > 0", clip=0.0)
    assert_refused("afr", "steps = 0: expected a whole number >= 1", steps=0)
    assert_refused("afr", "rate = 0.0: expected a number >= 1e-06", rate=0.0)
    with pytest.raises(UsageError) as error:
        method_of("afr", of_groups([1, 1]))
    assert str(error.value) == (
        "held_out = 0.2: one part of 2 training pictures would be empty; expected at least one in each part"
    )
