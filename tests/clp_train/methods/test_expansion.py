"""Progressive data expansion: its set, epoch by epoch, by hand and by a loop; a run's steps and step sizes."""

from collections import Counter

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from clp_aug.contract.seeds import rng_for
from clp_train.algorithm.objective import Terms
from clp_train.algorithm.stages import Stage
from clp_train.config import make_config
from clp_train.pictures.batching import steps_per_epoch
from clp_train.presets import read_method, read_preset
from tests.clp_train.builders import build, config_of, method_of, train
from tests.clp_train.methods.shared_cases import assert_needs_groups, assert_refused
from tests.clp_train.methods.subpop_cases import of_groups, random_table, seen, small_run

ORACLES = ("pde",)


def set_of(method, epoch, batch_size=7, seed=0):
    """Return the rows of an epoch, and its batches."""
    batches = method.batches(epoch, batch_size, rng_for(seed, epoch, "order"))
    return [int(row) for rows in batches for row in rows], batches


def test_waterbirds_by_hand():
    """56 of each group for 140 epochs, and 10 more at 140, 150, ..., 290: 224 to 384 pictures."""
    table = of_groups([3498, 184, 56, 1057])
    method = method_of("pde", table, epochs=300)
    sizes = [method.pictures(epoch) for epoch in range(300)]
    assert sizes[:140] == [224] * 140
    assert sizes[140:] == [224 + 10 * k for k in range(1, 17) for _ in range(10)]
    rows, batches = set_of(method, 139, 64)
    assert [len(b) for b in batches] == [56, 56, 56, 56]
    assert Counter(table.group[rows].tolist()) == {0: 56, 1: 56, 2: 56, 3: 56}
    rows, _ = set_of(method, 299, 64)
    assert len(set(rows)) == len(rows) == 384
    assert Counter(table.group[rows].tolist())[2] == 56  # all of them were there already
    assert method.stages == (Stage(share=140 / 300), Stage(share=160 / 300, rate=0.01))


@pytest.mark.parametrize(
    ("preset", "counts", "least", "most"),
    [
        ("waterbirds-pde", (3498, 184, 56, 1057), 1400, 1400),
        ("waterbirds-cpu", (1158, 51, 9, 342), 300, 450),  # others take 4 epochs of 98 steps
    ],
)
def test_presets_leave_it_steps_enough(preset, counts, least, most, monkeypatch):
    monkeypatch.setattr("clp_train.models.settings.check_model", lambda name: None)  # weights may not be here
    named = {"meta": "x.h5", "method": "pde"}
    config = make_config(named, preset=read_preset(preset), of_method=read_method(preset, "pde"))
    method = build(config, of_groups(counts))
    epochs, batch_size = config.run.epochs, config.batches.batch_size
    steps = sum(steps_per_epoch(method.pictures(epoch), batch_size) for epoch in range(epochs))
    assert least <= steps <= most


@pytest.mark.parametrize("seed", range(40))
def test_the_set_grows_as_the_schedule_says(seed):
    table, _ = random_table(seed)
    epochs, interval, added = 3 + seed, 1 + seed % 4, 1 + seed % 5
    warm_up = [0.1, 0.5, 0.9][seed % 3]
    options = {"warm_up": warm_up, "interval": interval, "added": added}
    method = method_of("pde", table, options, epochs=epochs)
    smallest = min(Counter(table.group.tolist()).values())
    known, since = None, 0
    for epoch in range(epochs):
        rows, batches = set_of(method, epoch)
        assert len(rows) == len(set(rows)) == method.pictures(epoch)
        assert len(batches) == -(-len(rows) // 7)
        assert max(map(len, batches)) - min(map(len, batches)) <= 1
        if known is None:
            known = set(rows) if epoch < round(warm_up * epochs) else set(method.order[: method.balanced].tolist())
            assert Counter(table.group[sorted(known)].tolist()) == dict.fromkeys(set(table.group.tolist()), smallest)
        if epoch >= round(warm_up * epochs):
            if since % interval == 0:
                new = set(rows) - known
                assert len(new) == min(added, len(table.group) - len(known))
                assert set(rows) >= known
                known |= new
            since += 1
        assert set(rows) == known


def test_nothing_is_added_once_all_are_there():
    table = of_groups([3, 2, 2, 4])
    method = method_of("pde", table, {"added": 2, "interval": 1, "warm_up": 0.1}, epochs=10)
    assert [method.pictures(epoch) for epoch in range(10)] == [8, 10, 11, 11, 11, 11, 11, 11, 11, 11]
    assert sorted(set_of(method, 9)[0]) == list(range(11))


def test_a_group_without_pictures_and_one_with_a_single_one():
    method = method_of("pde", of_groups([3, 1, 0, 4]), epochs=4)
    assert method.balanced == 3
    assert sorted(method.order.tolist()) == list(range(8))


def test_every_picture_is_as_likely_to_be_in_the_set():
    table, often = of_groups([20, 2, 2, 2]), np.zeros(26)
    for seed in range(600):
        method = method_of("pde", table, seed=seed)
        often[method.order[: method.balanced]] += 1
    assert np.abs(often[:20] - 60).max() < 5 * (600 * 0.1 * 0.9) ** 0.5
    assert (often[20:] == 600).all()


def drawn_one_by_one(table, added, additions, seed):
    """Return the rows of some additions, each drawn anew from all that is left: the slow, obvious way."""
    rng, left = rng_for(seed, 0, "test additions"), []
    counts = Counter(table.group.tolist())
    for g in counts:
        rows = rng.permutation(np.flatnonzero(table.group.numpy() == g))
        left += rows[min(counts.values()) :].tolist()
    for _ in range(additions):
        yield [left.pop(int(rng.integers(len(left)))) for _ in range(added)]


@pytest.mark.parametrize("number", range(3))
def test_additions_are_uniform_over_all_that_is_left(number):
    """The groups of the first, second and third addition of a picture, of 6, 2, 0 and 2 that are left at first."""
    table, often, slow = of_groups([8, 4, 2, 4]), np.zeros(4), np.zeros(4)
    for seed in range(3000):
        method = method_of("pde", table, {"added": 1}, seed=seed)
        often[table.group[method.order[method.balanced + number]]] += 1
        *_, last = drawn_one_by_one(table, 1, number + 1, seed)
        slow[table.group[last]] += 1
    for found in (often, slow):
        assert found[2] == 0
        assert chisquare(found[[0, 1, 3]], [1800, 600, 600]).pvalue > 1e-3


def test_additions_of_several_have_the_groups_of_the_slow_way():
    """How many of the second addition of two are of the first group: 0, 1 or 2 with the chances of draws by hand."""
    table, often, slow = of_groups([8, 4, 2, 4]), np.zeros(3), np.zeros(3)
    for seed in range(3000):
        method = method_of("pde", table, {"added": 2}, seed=seed)
        second = method.order[method.balanced + 2 : method.balanced + 4]
        often[int((table.group[second] == 0).sum())] += 1
        *_, last = drawn_one_by_one(table, 2, 2, seed)
        slow[int((table.group[last] == 0).sum())] += 1
    expected = 3000 * np.array([4 * 3, 2 * 6 * 4, 6 * 5]) / 90
    for found in (often, slow):
        assert chisquare(found, expected).pvalue > 1e-3


def test_the_set_and_its_order_are_those_of_the_seed():
    table, _ = random_table(1)
    method, same = (method_of("pde", table, epochs=20) for _ in range(2))
    other = method_of("pde", table, seed=1, epochs=20)
    assert set_of(method, 12)[0] == set_of(same, 12)[0] != set_of(other, 12)[0]
    assert set_of(method, 12)[0] != set_of(method, 12, seed=1)[0]
    assert method.state_dict() == {}
    assert method.terms(seen(table, 1)[2]) == Terms()


def test_a_run_has_the_steps_it_tells_of_and_small_ones_at_the_end(demo_shard):
    config = config_of(
        meta=demo_shard, method="pde", epochs=6, batch_size=20, schedule="constant",
        options={"warm_up": 0.5, "interval": 2, "added": 25, "decay": 0.1},
    )  # fmt: skip
    run, told = small_run(config), []
    counts = torch.bincount(run.train.group).tolist()
    balanced = 4 * min(counts)
    trained = train(config, run, on_step=told.append)
    sizes = [balanced] * 3 + [min(balanced + 25, sum(counts))] * 2 + [min(balanced + 50, sum(counts))]
    expected = sum(-(-size // 20) for size in sizes)
    assert len(told) == expected
    assert {done.steps for done in told} == {expected}
    assert told[-1].step == expected
    assert [line["lr"] for line in trained.history] == pytest.approx([0.1] * 3 + [0.01] * 3)


def test_refusals():
    assert_needs_groups("pde")
    assert_refused("pde", "warm_up = 1.0: expected a number from 0.01 to 0.99", warm_up=1.0)
    assert_refused("pde", "interval = 0: expected a whole number >= 1", interval=0)
    assert_refused("pde", "added = 0: expected a whole number >= 1", added=0)
    assert_refused("pde", "decay = nan: expected a number from 1e-06 to 1", decay=float("nan"))
