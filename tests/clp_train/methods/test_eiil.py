"""EIIL: inference against a loop with the penalty of whole losses; GroupDRO over what was inferred; its two stages."""

import math
from collections import Counter

import pytest
import torch
from torch.nn import functional as F

from clp_aug.contract.errors import UsageError
from clp_aug.contract.seeds import rng_for
from clp_train.algorithm.objective import Terms
from clp_train.algorithm.stages import Stage, plan
from clp_train.methods.eiil import infer_environments
from clp_train.methods.parts.environments import scale_slopes
from clp_train.models.parts import Output
from tests.clp_train.builders import config_of, generator, load, method_of, table_of, train
from tests.clp_train.methods.shared_cases import assert_refused
from tests.clp_train.methods.subpop_cases import of_groups, random_table, seen
from tests.clp_train.methods.toy_cases import COUNTS, vectors
from tests.clp_train.resuming import Killed, assert_same, killable, short

ORACLES = ("eiil",)
FAST = {"assignment_steps": 60}


def risks_of(seed, n=None, classes=None):
    """Return random logits, float64, labels, and the logits that assignments start from."""
    g = generator(seed)
    n, classes = n or 2 + seed % 40, classes or 2 + seed % 3
    logits, label = (
        2 * torch.randn(n, classes, generator=g, dtype=torch.float64),
        torch.randint(classes, (n,), generator=g),
    )
    return logits, label, torch.randn(n, generator=g, dtype=torch.float64)


def penalty(logits, label, w):
    """Return half the sum of the squared slopes, in the logits' scale, of both soft environments' risks."""
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    losses, total = F.cross_entropy(logits * scale, label, reduction="none"), 0.0
    for share in (w.sigmoid(), 1 - w.sigmoid()):
        (slope,) = torch.autograd.grad((losses * share).mean(), scale, create_graph=True)
        total = total + slope**2 / 2
    return total


def slow_inference(logits, label, start, steps, lr):
    """Return the final assignments by Adam as its paper writes it, up the penalty of whole losses."""
    w, m, v = start.clone(), torch.zeros_like(start), torch.zeros_like(start)
    for t in range(1, steps + 1):
        w.requires_grad_()
        (gradient,) = torch.autograd.grad(-penalty(logits, label, w), w)
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        w = (w - lr * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)).detach()
    return w


@pytest.mark.parametrize("seed", range(30))
def test_environments_are_those_of_the_slow_version(seed):
    logits, label, start = risks_of(seed)
    steps, lr = [1, 20, 80][seed % 3], [0.01, 0.3][seed % 2]
    w = slow_inference(logits, label, start, steps, lr)
    found = infer_environments(scale_slopes(logits, label), start, steps, lr)
    assert found.dtype == torch.int64
    assert (found == (w > 0))[w.abs() > 1e-9].all()


@pytest.mark.parametrize("seed", range(5))
def test_the_penalty_rises_and_ends_with_mistakes_apart_from_what_is_right(seed):
    """Whose risk falls with the scale are those that the network gets right: they part from the others."""
    logits, label, start = risks_of(seed, 60, 2)
    slopes = scale_slopes(logits, label)
    found = infer_environments(slopes, start, 1000, 0.03)
    hard = torch.where(found == 1, 30.0, -30.0).double()
    assert penalty(logits, label, hard) > penalty(logits, label, start)
    positive = (slopes > 0).long()
    big = slopes.abs() > 0.05
    assert (found == positive)[big].all() or (found == 1 - positive)[big].all()


def inferred(table, seed=0, options=None, logits=None, **settings):
    """Return the method at the start of its second stage, after a first network of such logits, random when None."""
    method = method_of("eiil", table, {**FAST, **(options or {})}, **settings)
    if logits is None:
        logits = torch.randn(len(table.label), table.classes, generator=generator(seed))
    method.enter(0, None)
    method.begin_stage(0, {}.__getitem__)
    assert method.terms(seen(table, seed)[2]) == Terms()
    assert method.batches(0, 7, rng_for(0, 0, "order")) is None
    method.begin_stage(1, {"train": Output(logits, logits)}.__getitem__)
    method.stage = 1
    return method


@pytest.mark.parametrize("seed", range(20))
def test_its_second_stage_is_group_dro_on_the_inferred_groups(seed):
    table, _ = random_table(seed)
    method = inferred(table, seed, {"eta": 0.5, "adjustment": 1.0})
    assert torch.equal(method.group // 2, table.label)
    n, count = [int((method.group == g).sum()) for g in range(2 * table.classes)], len(table.label)
    q = [1 / sum(k > 0 for k in n) if k else 0.0 for k in n]
    for step in range(3):
        _, batch, view = seen(table, 10 * seed + step)
        own = [int(method.group[row]) for row in batch.row]
        losses = F.cross_entropy(view.logits, view.label, reduction="none").tolist()
        for g in set(own):
            members = [loss for loss, group in zip(losses, own, strict=True) if group == g]
            q[g] *= math.exp(0.5 * (sum(members) / len(members) + 1 / math.sqrt(n[g])))
        q = [value / sum(q) for value in q]
        method.observe(view)
        expected = [q[g] * len(own) / own.count(g) for g in own]
        assert method.terms(view).weight.tolist() == pytest.approx(expected, rel=1e-9)
    assert sum(n) == count


def test_the_inferred_groups_come_equally_often():
    table = of_groups([300, 20, 20, 200])
    method = inferred(table)
    counts = Counter()
    for epoch in range(60):
        batches = method.batches(epoch, 64, rng_for(0, epoch, "order"))
        assert [len(rows) for rows in batches] == [60] * 9
        counts.update(method.group[[row for rows in batches for row in rows]].tolist())
    share = 1 / len(counts)
    spread = (60 * 540 * share * (1 - share)) ** 0.5
    assert all(abs(count - 60 * 540 * share) < 5 * spread for count in counts.values())


def test_its_groups_are_not_those_of_the_data_set():
    """It learns the same whatever groups the data set knows."""
    table = of_groups([30, 5, 4, 21])
    blind = table._replace(group=table.label, groups=2)
    logits = torch.randn(60, 2, generator=generator(1))
    assert torch.equal(inferred(table, logits=logits).group, inferred(blind, logits=logits).group)


@pytest.mark.parametrize(("first", "epochs"), [(1, 2), (1, 300), (3, 4), (7, 30)])
def test_the_first_network_has_its_epochs(first, epochs):
    method = method_of("eiil", of_groups([3, 2, 2, 4]), {"first_epochs": first}, epochs=epochs)
    stages = plan(method.stages, epochs, "all")
    assert [part for _, part in stages] == [range(first), range(first, epochs)]
    assert stages[1][0].restart
    assert stages[0][0] == Stage(share=first / epochs)


@pytest.mark.parametrize("seed", range(5))
def test_a_first_network_that_sees_the_place_alone_gives_the_groups(seed):
    """The toy of four groups; inferred are label, and whether the place is that of most pictures of it."""
    stream = vectors(COUNTS, seed)
    place = stream.images[:, 1]
    table = table_of(stream.label, stream.group, 2, 4)
    method = inferred(table, seed, {"assignment_steps": 1000}, torch.stack([-place, place], 1), epochs=30)
    cells = torch.zeros(4, 4, dtype=torch.int64)
    cells.index_put_((stream.group, method.group), torch.tensor(1), accumulate=True)
    assert len(set(cells.argmax(1).tolist())) == 4, "a group of its own for each"
    assert cells.amax(1).sum() >= 0.99 * sum(COUNTS)


@pytest.mark.parametrize("settings", [{}, {"trainable": "head"}], ids=["whole", "head"])
def test_killed_it_goes_on_bit_by_bit(demo_shard, tmp_path, settings):
    loaded = load(config_of(meta=demo_shard))
    settings = {"method": "eiil", "options": {"eta": 1.0, **FAST}, **settings}
    steps = []
    whole = killable(short(demo_shard, tmp_path / "whole", **settings), loaded, steps=steps)
    for kill_at in (2, len(steps) // 3 + 1, len(steps) - 1):
        config = short(demo_shard, tmp_path / str(kill_at), **settings)
        with pytest.raises(Killed):
            killable(config, loaded, kill_at)
        assert_same(killable(config, loaded, resume=True), whole)


def test_a_run_of_one_epoch_has_no_second_stage(demo_shard):
    config = config_of("eiil", demo_shard, epochs=1, options=FAST)
    with pytest.raises(
        UsageError, match="epochs = 1: the method has 2 stages and one of them would get none; raise epochs"
    ):
        train(config, load(config))


def test_refusals():
    assert_refused("eiil", "first_epochs = 0: expected a whole number >= 1", first_epochs=0)
    assert_refused("eiil", "assignment_steps = 0: expected a whole number >= 1", assignment_steps=0)
    assert_refused("eiil", "assignment_lr = 0.0: expected a number > 0", assignment_lr=0.0)
    assert_refused("eiil", "eta = -0.1: expected a number >= 0", eta=-0.1)
