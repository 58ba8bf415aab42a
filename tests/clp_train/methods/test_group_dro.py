"""GroupDRO against loops over groups; upweighting in both forms."""

import math

import pytest
import torch
from torch.nn import functional as F

from clp_train.algorithm.objective import Terms, objective
from clp_train.algorithm.stages import Stage
from tests.clp_train.builders import generator, method_of
from tests.clp_train.methods.shared_cases import assert_needs_groups, assert_refused
from tests.clp_train.methods.subpop_cases import of_groups, random_table, seen

ORACLES = ("group-dro", "uw", "uw-sample")


def group_losses(out, batch):
    """Return the mean loss of each group that is there, by number, with graphs."""
    return {
        g: sum(-out.logits[i].log_softmax(0)[batch.label[i]] for i in rows) / len(rows)
        for g in set(batch.group.tolist())
        for rows in [[i for i in range(len(batch)) if batch.group[i] == g]]
    }


@pytest.mark.parametrize("seed", range(30))
def test_group_dro_is_the_loop(seed):
    table, _ = random_table(seed)
    eta, adjustment = [0.01, 0.7, 5.0][seed % 3], [0.0, 2.0][seed % 2]
    method = method_of("group-dro", table, {"eta": eta, "adjustment": adjustment})
    n = [int((table.group == g).sum()) for g in range(table.groups)]
    q = [1 / table.groups] * table.groups
    for step in range(4):
        out, batch, view = seen(table, 100 * seed + step)
        losses = group_losses(out, batch)
        for g, loss in losses.items():
            q[g] *= math.exp(eta * (loss.item() + adjustment / math.sqrt(n[g])))
        q = [value / sum(q) for value in q]
        method.observe(view)
        found = objective(out.logits, batch.label, method.terms(view))
        expected = sum(q[g] * loss for g, loss in losses.items())
        assert method.log_q.exp().tolist() == pytest.approx(q, rel=1e-9)
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(*(torch.autograd.grad(value, out.logits)[0] for value in (found, expected)))


@pytest.mark.parametrize("seed", range(10))
def test_without_steps_it_is_the_group_mean(seed):
    table, _ = random_table(seed)
    method = method_of("group-dro", table, {"eta": 0.0})
    out, batch, view = seen(table, seed)
    method.observe(view)
    expected = sum(group_losses(out, batch).values()) / table.groups
    torch.testing.assert_close(objective(out.logits, batch.label, method.terms(view)), expected)


def test_a_group_without_pictures_weighs_nothing_and_a_great_eta_stays_finite():
    method = method_of("group-dro", of_groups([3, 0, 2, 4]), {"eta": 1e4})
    assert method.log_q.exp().tolist() == pytest.approx([1 / 3, 0, 1 / 3, 1 / 3])
    out, batch, view = seen(of_groups([3, 0, 2, 4]), 0, group=[0, 0, 2])
    for _ in range(50):
        method.observe(view)
    worst = max(group_losses(out, batch).items(), key=lambda pair: pair[1])[0]
    assert method.log_q.exp()[worst] == 1
    assert method.log_q.exp()[1] == 0
    assert method.terms(view).weight.isfinite().all()


def test_groups_come_equally_often_and_the_weights_survive():
    table, _ = random_table(3)
    method, other = method_of("group-dro", table, {"eta": 1.0}), method_of("group-dro", table, {"eta": 1.0})
    assert method.stages == (Stage(sampler="group"),)
    for seed in range(3):
        method.observe(seen(table, seed)[2])
    other.load_state_dict(method.state_dict())
    view = seen(table, 9)[2]
    for one in (method, other):
        one.observe(view)
    assert torch.equal(method.log_q, other.log_q)
    assert (method.log_q.exp() - 1 / table.groups).abs().max() > 0.01


@pytest.mark.parametrize("seed", range(10))
def test_upweighting_counts_every_group_alike(seed):
    """Over all training pictures the weighted mean is the mean over groups, and the mean weight is 1."""
    table, _ = random_table(seed)
    method = method_of("uw", table)
    n = len(table.label)
    logits = torch.randn(n, table.classes, dtype=torch.float64, generator=generator(seed))
    view = seen(table, seed)[2]._replace(logits=logits, label=table.label, group=table.group)
    losses = F.cross_entropy(logits, table.label, reduction="none")
    means = [losses[table.group == g].mean().item() for g in range(table.groups)]
    terms = method.terms(view)
    assert objective(logits, table.label, terms).item() == pytest.approx(sum(means) / table.groups, rel=1e-5)
    assert terms.weight.mean().item() == pytest.approx(1, rel=1e-5)


def test_upweighting_by_sampling_is_a_sampler_alone():
    table, _ = random_table(1)
    method = method_of("uw-sample", table)
    assert method.stages == (Stage(sampler="group"),)
    assert method.terms(seen(table, 1)[2]) == Terms()
    assert type(method) is type(method_of("group-sample", table))
    assert type(method_of("uw", table)) is type(method_of("group-weight", table))


def test_refusals():
    assert_needs_groups("group-dro")
    assert_refused("group-dro", "eta = -0.1: expected a number >= 0", eta=-0.1)
    assert_refused("group-dro", "adjustment = inf: expected a number >= 0", adjustment=float("inf"))
