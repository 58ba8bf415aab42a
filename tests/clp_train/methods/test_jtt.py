"""Just train twice: the error set, what an epoch draws counted one by one, and the two networks of a run."""

import shutil
from collections import Counter

import numpy as np
import pytest
import torch

from clp_aug.contract.seeds import rng_for
from clp_train.algorithm.objective import Terms
from clp_train.algorithm.stages import Stage
from clp_train.algorithm.step import train_step
from clp_train.evaluating.outputs import score
from clp_train.methods.jtt import stretch, upsampled
from clp_train.models.parts import Output
from tests.clp_train.builders import config_of, generator, load, method_of, train
from tests.clp_train.methods.shared_cases import assert_refused
from tests.clp_train.methods.staged_toy import worst_group
from tests.clp_train.methods.subpop_cases import of_groups, random_table, seen, small_run
from tests.clp_train.resuming import Killed, assert_same, killable, short

ORACLES = ("jtt",)
GAIN = 0.05


def slow_stream(wrong, copies):
    """Return the concatenated set: every picture once, then each wrong one so many times more."""
    rows = list(range(len(wrong)))
    for row, is_wrong in enumerate(wrong):
        rows += [row] * copies if is_wrong else []
    return rows


def slow_argmax(row):
    """Return the first place of the largest number."""
    best = 0
    for c, value in enumerate(row):
        best = c if value > row[best] else best
    return best


def second_stage(table, seed, epochs=12, **options):
    """Return the method at the start of its second stage, and what a random first network got wrong."""
    method = method_of("jtt", table, {"first": 0.25, **options}, epochs=epochs)
    logits = torch.randn(len(table.label), table.classes, generator=generator(seed))
    method.begin_stage(0, {}.__getitem__)
    method.enter(0, None)
    assert method.batches(0, 7, rng_for(0, 0, "order")) is None
    method.begin_stage(1, {"train": Output(logits, logits)}.__getitem__)
    method.enter(1, None)
    pairs = zip(logits.tolist(), table.label.tolist(), strict=True)
    return method, [slow_argmax(row) != label for row, label in pairs]


def drawn(method, epochs, batch_size=7):
    """Return the rows of some epochs, one after the other."""
    return [row for e in epochs for rows in method.batches(e, batch_size, rng_for(1, e, "order")) for row in rows]


@pytest.mark.parametrize("seed", range(20))
def test_the_error_set_and_the_concatenated_set_are_their_loops(seed):
    table, _ = random_table(seed)
    method, wrong = second_stage(table, seed)
    assert method.wrong.tolist() == wrong
    assert method.numbers() == {"error_set": sum(wrong)}
    found = upsampled(np.array(wrong), 1 + seed)
    assert sorted(found.tolist()) == sorted(slow_stream(wrong, 1 + seed))


@pytest.mark.parametrize("seed", range(20))
def test_the_stream_is_pass_after_pass_whatever_is_asked_for(seed):
    rng = rng_for(seed, 0, "test stretch")
    rows = rng.integers(0, 9, int(rng.integers(1, 12)))
    whole = stretch(rows, 0, 5 * len(rows), seed).reshape(5, -1)
    for order in whole:
        assert Counter(order.tolist()) == Counter(rows.tolist())
    start, count = int(rng.integers(0, 3 * len(rows))), int(rng.integers(1, 2 * len(rows) + 1))
    np.testing.assert_array_equal(stretch(rows, start, count, seed), whole.flatten()[start : start + count])


@pytest.mark.parametrize("seed", range(20))
def test_epochs_as_long_as_those_of_erm_make_up_whole_passes(seed):
    """After as many epochs as a pass is long, each picture came once a pass, and each wrong one lambda + 1 times."""
    table, _ = random_table(seed)
    n, copies = len(table.label), 1 + seed % 4
    length = n + copies * second_stage(table, seed)[1].count(True)
    method, wrong = second_stage(table, seed, epochs=4 * length, upweight=copies)
    for epoch in (method.start, method.start + 3):
        batches = method.batches(epoch, 7, rng_for(0, 0, "order"))
        assert len(batches) == -(-n // 7)
        assert sum(map(len, batches)) == n
        assert max(map(len, batches)) - min(map(len, batches)) <= 1
    often = Counter(drawn(method, range(method.start, method.start + length)))  # n passes, of n pictures each epoch
    assert often == {row: n * (1 + copies * is_wrong) for row, is_wrong in enumerate(wrong)}


def test_waterbirds_by_hand():
    """4795 pictures, 215 of them wrong: a pass of 26,295; in 360 epochs 60 of ERM, and 54 passes and a part."""
    table = of_groups([3498, 184, 56, 1057])
    method = method_of("jtt", table, epochs=360)
    assert method.stages == (Stage(share=1 / 6), Stage(share=5 / 6, restart=True))
    assert method.start == 60
    method.wrong[:215] = True
    method.enter(1, None)
    often = np.bincount(drawn(method, range(60, 65), 64), minlength=4795)  # 23,975 of the first pass
    assert often[215:].max() == 1
    assert often.sum() == 5 * 4795
    assert often[:215].sum() == pytest.approx(5 * 4795 * 101 * 215 / 26295, abs=5 * 13)  # standard deviation 13


def test_every_place_of_a_pass_is_as_likely_for_every_row():
    where = np.zeros((5, 5))
    for seed in range(1000):
        where[np.arange(5), stretch(np.arange(5), 0, 5, seed)] += 1
    assert np.abs(where - 200).max() < 5 * (1000 * 0.2 * 0.8) ** 0.5


def test_without_errors_the_second_stage_is_erm_again():
    table, _ = random_table(1)
    method = method_of("jtt", table)
    method.enter(1, None)
    for epoch in range(method.start, method.start + 3):
        assert sorted(drawn(method, [epoch])) == list(range(len(table.label)))
    assert method.terms(seen(table, 1)[2]) == Terms()
    assert method.penalty(*seen(table, 1)[:2], None) is None


def test_the_order_is_that_of_the_seed():
    table, _ = random_table(2)
    (method, _), (same, _) = (second_stage(table, 2) for _ in range(2))
    other = method_of("jtt", table, {"first": 0.25}, epochs=12)
    other.seed = 1
    other.load_state_dict(method.state_dict())
    other.enter(1, None)
    assert drawn(method, [3, 4]) == drawn(same, [3, 4]) != drawn(other, [3, 4])


@pytest.mark.parametrize("trainable", ["all", "head"])
def test_a_run_starts_again_and_learns_from_what_the_first_network_got_wrong(demo_shard, trainable):
    config = config_of(
        meta=demo_shard, method="jtt", epochs=6, batch_size=20, lr=0.02, trainable=trainable,
        options={"first": 0.5, "upweight": 3},
    )  # fmt: skip
    run, states, rows = small_run(config), [], []

    def watched(network, method, optimiser, batch, meta, rule, step, progress=0.0):
        states.append({name: value.clone() for name, value in network.state_dict().items()})
        rows.append(batch.row)
        found = train_step(network, method, optimiser, batch, meta, rule, step, progress)
        if step + 1 == half and trainable == "all":
            ends.append(score(network, run.train).logits.argmax(1) != run.train.label)
            network.train()
        return found

    half, ends = 3 * -(-len(run.train) // 20), []
    trained = train(config, run, train_step=watched)
    assert len(states) == 2 * half
    assert all(torch.equal(value, states[half][name]) for name, value in states[0].items())
    assert any(not torch.equal(value, states[half - 1][name]) for name, value in states[0].items())
    wrong = trained.method.wrong
    assert 0 < wrong.sum() < len(wrong)
    assert not ends or torch.equal(wrong, ends[0])
    assert [line["error_set"] for line in trained.history] == [0] * 3 + [int(wrong.sum())] * 3
    often = torch.bincount(torch.cat(rows[:half]), minlength=len(wrong))
    assert (often == 3).all()
    often = torch.bincount(torch.cat(rows[half:]), minlength=len(wrong)).double()
    assert often[wrong].mean() > 2 * often[~wrong].mean()


def test_a_resumed_run_needs_the_error_set(demo_shard, tmp_path, monkeypatch):
    run = load(config_of(meta=demo_shard))

    def some(name):
        return short(
            demo_shard, tmp_path / name, method="jtt", lr=0.02, options={"first": 0.5, "upweight": 5}, epochs=4
        )

    steps = []
    whole = killable(some("whole"), run, steps=steps)
    assert whole.method.wrong.any()
    with pytest.raises(Killed):
        killable(some("killed"), run, len(steps) - 1)
    shutil.copytree(some("killed").folder, some("forgetful").folder)
    assert_same(killable(some("killed"), run, resume=True), whole)
    monkeypatch.setattr(type(whole.method), "load_state_dict", lambda self, state: None)
    with pytest.raises(AssertionError):
        assert_same(killable(some("forgetful"), run, resume=True), whole)


def test_on_a_spurious_toy_the_worst_group_is_better():
    assert worst_group("jtt", {"first": 0.25, "upweight": 10}) > worst_group("erm") + GAIN


def test_refusals():
    assert_refused("jtt", "first = 1.0: expected a number from 0.01 to 0.99", first=1.0)
    assert_refused("jtt", "upweight = 0: expected a whole number >= 1", upweight=0)
