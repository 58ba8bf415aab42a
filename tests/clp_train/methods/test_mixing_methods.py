"""LISA and DomainMix: every pair keeps the rule, every mixture is the formula, picture by picture."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from clp_aug.contract.seeds import rng_for
from clp_train.algorithm.objective import Terms, objective
from clp_train.methods.parts.mixing import interpolated
from tests.clp_train.builders import generator, method_of
from tests.clp_train.methods.shared_cases import assert_needs_groups, assert_refused
from tests.clp_train.methods.subpop_cases import of_groups, random_table, seen

ORACLES = ("domain-mix", "lisa")


def with_second(table, seed, n):
    """Return a batch that has partners, which are other random pictures."""
    batch, second = seen(table, seed, n=n)[1], seen(table, seed + 1000, n=n)[1]
    return replace(batch, second=second)


@pytest.mark.parametrize("seed", range(20))
def test_a_mixture_is_the_formula_picture_by_picture(seed):
    table, _ = random_table(seed)
    batch = with_second(table, seed, 1 + seed % 8)
    share = torch.rand(len(batch), dtype=torch.float64, generator=generator(seed))
    mixed = interpolated(batch, share, table.classes)
    for i, s in enumerate(share.tolist()):
        torch.testing.assert_close(mixed.images[i], s * batch.images[i] + (1 - s) * batch.second.images[i])
        expected = [0.0] * table.classes
        expected[batch.label[i]] += s
        expected[batch.second.label[i]] += 1 - s
        assert mixed.target[i].tolist() == pytest.approx(expected)
    assert mixed.second is None
    assert torch.equal(mixed.label, batch.label)
    assert mixed.target.dtype == mixed.images.dtype == torch.float64
    vectors = replace(batch, images=batch.images[:, 0, 0], second=replace(batch.second, images=batch.images[:, 1, 1]))
    expected = share[:, None] * vectors.images + (1 - share[:, None]) * vectors.second.images  # features of a probe
    torch.testing.assert_close(interpolated(vectors, share, table.classes).images, expected)


def test_a_share_of_one_is_the_batch_itself_and_its_cross_entropy():
    table, _ = random_table(1)
    batch, out = with_second(table, 1, 6), seen(table, 1, n=6)[0]
    mixed = interpolated(batch, torch.ones(6), table.classes)
    assert torch.equal(mixed.images, batch.images)
    assert torch.equal(mixed.target, F.one_hot(batch.label, table.classes).double())
    found = objective(out.logits, batch.label, Terms(target=mixed.target))
    torch.testing.assert_close(found, F.cross_entropy(out.logits, batch.label))


def pairs_of(method, table, seed, n=12):
    """Return the batch, its partners' rows, and which have none."""
    batch = seen(table, seed, n=n)[1]
    found = method.partners(batch, rng_for(seed, 0, "mix"))
    assert found.dtype == np.int64
    return batch, found


def fitting(table, places, row, rule):
    """Return the rows that fit a picture, by going through all."""
    label, place = table.label.tolist(), (table.group % places).tolist()
    rules = {
        "domain-mix": lambda j: place[j] != place[row],
        "within label": lambda j: label[j] == label[row] and place[j] != place[row],
        "within place": lambda j: label[j] != label[row] and place[j] == place[row],
    }
    return {j for j in range(len(label)) if rules[rule](j)}


@pytest.mark.parametrize(
    ("name", "options", "rule"),
    [
        ("domain-mix", {}, "domain-mix"),
        ("lisa", {"within_label": 1.0}, "within label"),
        ("lisa", {"within_label": 0.0}, "within place"),
    ],
    ids=["domain-mix", "within-label", "within-place"],
)
@pytest.mark.parametrize("seed", range(20))
def test_every_pair_keeps_the_rule(seed, name, options, rule):
    table, places = random_table(seed)
    if seed % 3 == 0:  # every tenth label is wrong, and another than its group says
        table.label[::10] = (table.label[::10] + 1) % table.classes
    method = method_of(name, table, options)
    for k in range(5):
        batch, found = pairs_of(method, table, 100 * seed + k)
        for row, partner in zip(batch.row.tolist(), found.tolist(), strict=True):
            fits = fitting(table, places, row, rule)
            assert partner in fits or (not fits and partner == row)


def test_lisa_takes_one_rule_a_batch_as_often_as_asked():
    table, _ = random_table(4)
    method, within = method_of("lisa", table, {"within_label": 0.3}), 0
    for k in range(400):
        batch, found = pairs_of(method, table, k, n=5)
        same = {bool(table.label[j] == own) for j, own in zip(found, batch.label, strict=True)}
        assert len(same) == 1
        within += same.pop()
    assert abs(within - 120) < 4 * (400 * 0.3 * 0.7) ** 0.5


def test_each_fitting_group_or_picture_is_equally_likely():
    table = of_groups([1, 40, 10, 30, 5, 20], places=3)  # two classes in three places
    batch = seen(table, 0, group=[0] * 3000)[1]
    lisa = method_of("lisa", table, {"within_label": 1.0})
    drawn = np.bincount(table.group[lisa.partners(batch, rng_for(0, 0, "mix"))], minlength=6) / 3000
    np.testing.assert_allclose(drawn, [0, 1 / 2, 1 / 2, 0, 0, 0], atol=0.04)
    mix = method_of("domain-mix", table)
    drawn = np.bincount(table.group[mix.partners(batch, rng_for(0, 0, "mix"))], minlength=6) / 3000
    np.testing.assert_allclose(drawn, np.array([0, 40, 10, 0, 5, 20]) / 75, atol=0.04)


def test_a_picture_that_nothing_fits_stays_as_it_is():
    table = of_groups([4, 4, 4, 0])  # class 1 is in one place alone
    batch = seen(table, 5, group=[0, 2, 1, 2])[1]
    method = method_of("lisa", table, {"within_label": 1.0})
    rng = rng_for(0, 0, "mix")
    rows = method.partners(batch, rng)
    assert (rows == batch.row.numpy()).tolist() == [False, True, False, True]
    second = replace(seen(table, 6, n=4)[1], row=torch.from_numpy(rows))
    mixed = method.mixed(replace(batch, second=second), rng)
    assert torch.equal(mixed.images[1::2], batch.images[1::2])
    assert torch.equal(mixed.target[1::2], F.one_hot(batch.label[1::2], 2).double())
    assert not torch.equal(mixed.images[0], batch.images[0])


@pytest.mark.parametrize("name", ORACLES)
def test_shares_are_those_of_the_beta_distribution(name):
    table = of_groups([6, 6, 6, 6])
    batch = seen(table, 1, group=[0, 1, 2, 3] * 1000)[1]
    zero = replace(batch, images=torch.ones_like(batch.images))
    other = replace(batch, images=torch.zeros_like(batch.images), row=batch.row + 1)
    for alpha in (2.0, 0.5):
        method = method_of(name, table, {"alpha": alpha})
        share = method.mixed(replace(zero, second=other), rng_for(0, 0, "mix")).images[:, 0, 0, 0]
        assert share.mean().item() == pytest.approx(0.5, abs=0.02)
        assert share.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.08)


def test_groups_of_lisa_come_equally_often_and_those_of_domain_mix_as_they_are():
    table = of_groups([120, 6, 2, 36])
    assert method_of("domain-mix", table).batches(0, 16, rng_for(0, 0, "test")) is None
    batches = method_of("lisa", table).batches(0, 16, rng_for(0, 0, "test"))
    assert len(batches) == 11
    for rows in batches:
        counts = np.bincount(table.group[rows], minlength=4)
        assert counts.max() - counts.min() <= 1


def test_refusals():
    for name in ORACLES:
        assert_needs_groups(name)
        assert_refused(name, "alpha = 0.0: expected a number >= 0.001", alpha=0.0)
    assert_refused("lisa", "within_label = 1.5: expected a number from 0 to 1", within_label=1.5)
