"""SELF: disagreements and the choice by loops, who is held out, what both stages draw, and a run of it."""

import math
from collections import Counter

import numpy as np
import pytest
import torch

from clp_aug.contract.errors import UsageError
from clp_aug.contract.seeds import rng_for
from clp_train.algorithm.objective import Terms
from clp_train.algorithm.stages import Stage, plan
from clp_train.methods.self_last_layer import disagreement, most_disputed
from clp_train.models.parts import Output
from clp_train.pictures.batching import steps_per_epoch
from tests.clp_train.builders import config_of, generator, load, method_of, table_of, train
from tests.clp_train.methods.shared_cases import assert_refused, probabilities
from tests.clp_train.methods.subpop_cases import of_groups, random_table, seen
from tests.clp_train.resuming import Killed, assert_same, killable, short

ORACLES = ("self",)


@pytest.mark.parametrize("seed", range(20))
def test_the_disagreement_is_its_loop(seed):
    g = generator(seed)
    n, classes = 1 + seed % 7, 2 + seed % 4
    early, late = (3 * torch.randn(n, classes, generator=g, dtype=torch.float64) for _ in range(2))
    expected = []
    for a, b in zip(early.tolist(), late.tolist(), strict=True):
        p, q = probabilities(a), probabilities(b)
        expected.append(sum(x * math.log(x / y) for x, y in zip(p, q, strict=True)) / classes)
    assert disagreement(early, late).tolist() == pytest.approx(expected, rel=1e-9)
    assert disagreement(early, early).abs().max() < 1e-12
    assert disagreement(1e3 * early, 1e3 * late).isfinite().all()


@pytest.mark.parametrize("seed", range(30))
def test_the_choice_is_by_hand(seed):
    g = generator(seed)
    n, classes = 3 + seed, 2 + seed % 4
    values = torch.randint(8, (n,), generator=g).double()  # with ties
    label = torch.randint(classes, (n,), generator=g)
    count = classes + int(torch.randint(n, (), generator=g))
    by_value = sorted(range(n), key=lambda i: (-values[i].item(), i))
    firsts = []
    for i in by_value:
        if label[i] not in label[firsts]:
            firsts.append(i)
    expected = (firsts + [i for i in by_value if i not in firsts])[:count]
    found = most_disputed(values, label, count).tolist()
    assert found == expected
    assert set(label[found].tolist()) == set(label.tolist())
    if set(label[by_value[:count]].tolist()) == set(label.tolist()):
        assert set(found) == set(by_value[:count]), "the plain choice, where it has all classes"


def method_with(table, epochs=20, seed=0, **options):
    return method_of("self", table, options, seed=seed, epochs=epochs)


def rows_of(method, epoch, batch_size=7):
    """Return the rows of an epoch, and its batches."""
    batches = method.batches(epoch, batch_size, rng_for(1, epoch, "order"))
    return np.concatenate(batches), batches


@pytest.mark.parametrize("seed", range(20))
def test_some_are_held_out_and_the_others_learnt_from_with_classes_alike(seed):
    table, _ = random_table(seed)
    share = [0.01, 0.1, 0.5][seed % 3]
    method, n = method_with(table, seed=seed, held_out=share, share=0.3, chosen=4), len(table.label)
    assert sorted([*method.held.tolist(), *method.kept.tolist()]) == list(range(n))
    assert len(method.held) == max(1, round(share * n))
    drawn = Counter()
    for epoch in range(14):
        rows, batches = rows_of(method, epoch)
        assert len(rows) == method.pictures(epoch) == len(method.kept)
        assert len(batches) == steps_per_epoch(len(rows), 7)
        assert max(map(len, batches)) - min(map(len, batches)) <= 1
        drawn.update(rows.tolist())
    assert set(drawn) <= set(method.kept.tolist())


@pytest.mark.parametrize(("stage", "epochs"), [("whole", range(15)), ("last layer", range(15, 20))])
def test_classes_come_equally_often_and_their_pictures_too(stage, epochs):
    table = table_of(torch.cat([torch.zeros(500), torch.ones(60)]).long())
    method = method_with(table, chosen=40, held_out=0.2)
    finish(method, table)
    rows = method.kept if stage == "whole" else method.chosen
    counts = Counter()
    for k in range(40):
        for epoch in epochs:
            counts.update(np.concatenate(method.batches(epoch, 50, rng_for(k, epoch, "order"))).tolist())
    total, sizes = sum(counts.values()), Counter(table.label[rows].tolist())
    for row in rows.tolist():
        p = 1 / 2 / sizes[int(table.label[row])]
        assert abs(counts[row] - total * p) < 5.5 * (total * p * (1 - p)) ** 0.5
    assert total == sum(counts[row] for row in rows.tolist())


def finish(method, table, seed=0):
    """Take a method to its second stage, with random networks; return what they make of the pictures."""
    early, late = (torch.randn(len(table.label), table.classes, generator=generator(seed + k)) for k in range(2))
    for epoch in range(method.whole):
        method.begin_epoch(epoch, 20, lambda _: Output(early, early))
        assert (method.early is not None) == (epoch >= method.look_at)
    method.begin_stage(1, lambda _: Output(late, late))
    return early, late


@pytest.mark.parametrize("seed", range(10))
def test_the_last_layer_learns_from_what_is_disputed_among_the_held_out(seed):
    table, _ = random_table(seed)
    method = method_with(table, held_out=0.6, chosen=5, seed=seed)
    early, late = finish(method, table, seed)
    held = method.held
    values = disagreement(early[held].double(), late[held].double())
    assert torch.equal(method.chosen, held[most_disputed(values, table.label[held], 5)])
    rows, batches = rows_of(method, 19)
    assert set(rows.tolist()) <= set(method.chosen.tolist())
    assert len(rows) == len(table.label)
    assert len(batches) == steps_per_epoch(len(table.label), 7)
    assert method.pictures(19) is None


def test_pictures_against_the_bias_are_chosen():
    """Early the network follows the place alone, late it knows the label of pictures against the place, too."""
    table = of_groups([400, 30, 30, 400])
    method = method_with(table, held_out=0.5, chosen=20)
    place, against = table.group % 2, table.group % 2 != table.label
    early = 3.0 * torch.nn.functional.one_hot(place, 2)
    late = torch.where(against[:, None], 6.0 * torch.nn.functional.one_hot(table.label, 2), 1.2 * early)
    method.early = early[method.held]
    method.begin_stage(1, lambda _: Output(late, late))
    assert against[method.chosen].all()


@pytest.mark.parametrize(
    ("epochs", "early", "share", "whole", "look_at"),
    [
        (20, 0.2, 0.25, 15, 3),
        (4, 0.2, 0.25, 3, 1),
        (100, 0.5, 0.1, 90, 45),
        (20, 0.99, 0.25, 15, 14),
        (4, 0, 0.5, 2, 1),
    ],
)
def test_the_early_look_is_within_the_first_stage(epochs, early, share, whole, look_at):
    method = method_with(of_groups([5, 5, 5, 5]), epochs, early=early, share=share, rate=0.5)
    assert (method.whole, method.look_at) == (whole, look_at)
    stages = plan(method.stages, epochs, "all")
    assert [part for _, part in stages] == [range(whole), range(whole, epochs)]
    assert stages[1][0] == Stage(share=share, trainable="head", rate=0.5)


def test_it_is_cross_entropy_and_what_is_held_out_is_that_of_the_seed():
    table, _ = random_table(5)
    one, same, other = method_with(table), method_with(table), method_with(table, seed=1)
    assert torch.equal(one.held, same.held)
    assert not torch.equal(one.kept, other.kept)
    assert one.terms(seen(table, 0)[2]) == Terms()
    assert one.state_dict() == {}
    finish(one, table)
    same.load_state_dict(one.state_dict())
    assert torch.equal(one.chosen, same.chosen)
    assert torch.equal(one.early, same.early)


@pytest.mark.parametrize("settings", [{}, {"trainable": "head"}], ids=["whole", "head"])
def test_killed_it_goes_on_bit_by_bit(demo_shard, tmp_path, settings):
    loaded = load(config_of(meta=demo_shard))
    settings, steps = {"method": "self", "epochs": 4, "options": {"chosen": 8}, **settings}, []
    whole = killable(short(demo_shard, tmp_path / "whole", **settings), loaded, steps=steps)
    assert len(steps) == steps[-1].steps, "as many as were told"
    for kill_at in (2, len(steps) // 2, len(steps) - 1):
        config = short(demo_shard, tmp_path / str(kill_at), **settings)
        with pytest.raises(Killed):
            killable(config, loaded, kill_at)
        assert_same(killable(config, loaded, resume=True), whole)


def test_refusals(demo_shard):
    assert_refused("self", "held_out = 0.0: expected a number from 0.01 to 0.9", held_out=0.0)
    assert_refused("self", "chosen = 1: expected a whole number >= 2", chosen=1)
    assert_refused("self", "rate = 0.0: expected a number > 0", rate=0.0)
    config = config_of("self", demo_shard, epochs=1)
    with pytest.raises(UsageError) as error:
        train(config, load(config))
    assert str(error.value) == ("epochs = 1: they leave 1 for the whole network; expected at least 2; raise epochs")
    with pytest.raises(UsageError) as error:
        method_with(table_of([0, 1, 2]), chosen=2)
    assert str(error.value) == "chosen = 2: there are 3 classes; expected at least one picture of each"
