"""LfF against loops over pictures, and whole steps against two classifiers trained one by one."""

import copy
import math

import pytest
import torch
from torch.nn import functional as F

from clp_train.algorithm.objective import objective
from clp_train.methods.lff import OnFeatures, amplified_cross_entropy
from clp_train.models.parts import Output, Peers
from clp_train.pictures.types import Batch
from tests.clp_train.builders import (
    batch_of,
    config_of,
    generator,
    load,
    method_of,
    network_of,
    optimiser_of,
    step,
    table_of,
    train,
)
from tests.clp_train.methods.head_alone import HeadAlone
from tests.clp_train.methods.reweighting_cases import logits_view
from tests.clp_train.methods.shared_cases import assert_refused, probabilities
from tests.clp_train.resuming import Killed, assert_same, killable, short

ORACLES = ("lff",)


def table_for(seed, classes):
    """Return a table of some pictures, every class among them."""
    g = generator(seed)
    drawn = torch.randint(classes, (int(torch.randint(20, (), generator=g)),), generator=g)
    return table_of(torch.cat([torch.arange(classes), drawn]), classes=classes)


def met(table, g, n):
    """Return a batch of n of its pictures, or all, none twice, with features."""
    row = torch.randperm(len(table.label), generator=g)[:n]
    label, none = table.label[row], torch.zeros(len(row), dtype=torch.uint8)
    return Batch(torch.randn(len(row), 4, generator=g).double(), torch.zeros(0), label, label, none, row, row)


class SlowAverages:
    """A loss average of each picture, in a dictionary."""

    def __init__(self, labels, decay):
        self.labels, self.decay, self.of = labels, decay, {}

    def note(self, row, loss):
        self.of[row] = self.decay * self.of[row] + (1 - self.decay) * loss if row in self.of else loss

    def share(self, row):
        """The average divided by the largest of its class."""
        return self.of[row] / max(v for r, v in self.of.items() if self.labels[r] == self.labels[row])


@pytest.mark.parametrize("seed", range(30))
def test_weights_and_losses_are_those_of_the_loop(seed):
    classes, decay, q = 2 + seed % 3, [0.0, 0.7, 0.95][seed % 3], [0.3, 0.7, 1.0][seed // 10]
    table = table_for(seed, classes)
    method = method_of("lff", table, {"decay": decay, "amplification": q})
    of_biased, of_other = (SlowAverages(table.label.tolist(), decay) for _ in range(2))
    g = generator(100 + seed)
    for _ in range(6):
        batch = met(table, g, 1 + seed % 9)
        first, second = (2 * torch.randn(len(batch), classes, generator=g).double() for _ in range(2))
        first.requires_grad_(), second.requires_grad_()
        penalty = method.penalty(Output(batch.images, first, Output(batch.images, second)), batch, None)
        terms, expected, biased = method.terms(None), [], 0.0
        rows = list(zip(batch.row.tolist(), first.tolist(), second.tolist(), batch.label.tolist(), strict=True))
        for row, own, other, y in rows:
            of_other.note(row, -math.log(probabilities(own)[y]))
            of_biased.note(row, -math.log(probabilities(other)[y]))
        for row, _, other, y in rows:
            b, d = of_biased.share(row), of_other.share(row)
            expected.append(b / (b + d + 1e-8))
            p = probabilities(other)[y]
            biased += -math.log(p) * q * p**q / len(rows)
        assert terms.weight.tolist() == pytest.approx(expected, rel=1e-9)
        assert penalty.item() == pytest.approx(biased, rel=1e-9)
        (slope,) = torch.autograd.grad(objective(first, batch.label, terms), first)
        (own,) = torch.autograd.grad(F.cross_entropy(first, batch.label, reduction="none") @ terms.weight, first)
        torch.testing.assert_close(slope, own / len(batch))


@pytest.mark.parametrize("q", [0.1, 0.7, 1.0])
def test_the_amplified_loss_has_the_gradient_of_generalised_cross_entropy(q):
    g = generator(0)
    logits = 2 * torch.randn(30, 4, generator=g, dtype=torch.float64)
    logits.requires_grad_()
    label = torch.randint(4, (30,), generator=g)
    p = logits.softmax(1).gather(1, label[:, None]).squeeze(1)
    (found,) = torch.autograd.grad(amplified_cross_entropy(logits, label, q).sum(), logits)
    (expected,) = torch.autograd.grad((1 - p**q).sum() / q, logits)
    torch.testing.assert_close(found, q * expected)


def test_what_is_hard_for_the_biased_one_alone_weighs_most():
    """Half of the pictures contradict the bias: the biased classifier fails on them, the other is halfway on all."""
    table = table_of(torch.arange(20) % 2)
    method = method_of("lff", table)
    against = torch.arange(20) >= 10
    sign = F.one_hot(table.label, 2).double() - 0.5
    biased = torch.where(against[:, None], -4 * sign, 4 * sign)
    none, rows = torch.zeros(20, dtype=torch.uint8), torch.arange(20)
    batch = Batch(torch.zeros(20, 4), torch.zeros(0), table.label, table.label, none, rows, rows)
    method.penalty(Output(batch.images, sign, Output(batch.images, biased)), batch, None)
    weight = method.terms(None).weight
    assert (weight[against] > 0.49).all()
    assert (weight[~against] < 0.02).all()


def test_pictures_without_any_loss_weigh_nothing():
    table = table_of([0, 1])
    method = method_of("lff", table)
    sure = torch.tensor([[1e3, 0.0], [0.0, 1e3]], dtype=torch.float64)
    rows = torch.arange(2)
    batch = Batch(torch.zeros(2, 4), torch.zeros(0), rows, rows, torch.zeros(2, dtype=torch.uint8), rows, rows)
    assert method.penalty(Output(sure, sure, Output(sure, sure)), batch, None) == 0
    assert method.terms(None).weight.tolist() == [0, 0]


def slow_steps(first, second, batches, of_first, of_second, label, at=lambda net, batch: net(batch.images).logits):
    """Train two classifiers step by step, each by an optimiser of its own."""
    averages = [SlowAverages(label.tolist(), 0.7) for _ in range(2)]
    for batch in batches:
        logits = [at(net, batch) for net in (first, second)]
        losses = [F.cross_entropy(z, batch.label, reduction="none") for z in logits]
        for own, average in zip(losses, averages, strict=True):
            for row, loss in zip(batch.row.tolist(), own.tolist(), strict=True):
                average.note(row, loss)
        d, b = ([average.share(row) for row in batch.row.tolist()] for average in averages)
        weight = torch.tensor([x / (x + y + 1e-8) for x, y in zip(b, d, strict=True)], dtype=losses[0].dtype)
        p = logits[1].softmax(1).gather(1, batch.label[:, None]).squeeze(1)
        objectives = (weight * losses[0]).mean(), 0.7 * (1 - p**0.7).mean() / 0.7
        for optimiser, value in zip((of_first, of_second), objectives, strict=True):
            optimiser.zero_grad()
            value.backward()
            optimiser.step()


def sgd(network, config):
    return torch.optim.SGD(network.parameters(), config.sgd.lr, config.sgd.momentum, weight_decay=5e-4)


def test_steps_are_those_of_two_classifiers_with_optimisers_of_their_own():
    network = Peers(network_of(seed=0), network_of(seed=1))
    first, second = (copy.deepcopy(net) for net in network.nets)
    config, label = config_of("lff"), torch.arange(9) % 3
    batches = [batch_of(seed=seed, n=9, rows=True) for seed in range(3)]
    method, optimiser = method_of("lff", table_of(label)), optimiser_of(network, config)
    method.enter(0, network)
    for number, batch in enumerate(batches):
        step(network, method, optimiser, batch, None, config, number)
    slow_steps(first, second, batches, sgd(first, config), sgd(second, config), label)
    for net, other in zip(network.nets, (first, second), strict=True):
        for a, b in zip(net.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(a, b)


def on_features(table, **settings):
    """Return the method of a run of the last layer only, and that layer, float64."""
    method = method_of("lff", table, trainable="head", schedule="constant", **settings)
    head = torch.nn.Linear(4, table.classes).double()
    return method, HeadAlone(head)


def test_on_features_steps_are_those_of_two_last_layers():
    table, g = table_of(torch.arange(12) % 3), generator(4)
    method, network = on_features(table)
    assert isinstance(method, OnFeatures)
    assert method.networks == 1
    method.enter(0, network)
    config = config_of("lff", trainable="head", schedule="constant")
    first, second, own = copy.deepcopy(network.head), copy.deepcopy(method.biased), sgd(network.head, config)
    batches = [met(table, g, 5) for _ in range(6)]
    for batch in batches:
        logits = network.head(batch.images)
        method.observe(logits_view(logits, batch.label, batch.row))
        assert method.penalty(Output(batch.images, logits), batch, network) is None
        own.zero_grad()
        objective(logits, batch.label, method.terms(None)).backward()
        own.step()
    slow_steps(
        first, second, batches, sgd(first, config), sgd(second, config), table.label,
        lambda net, batch: net(batch.images),
    )  # fmt: skip
    for a, b in ((network.head, first), (method.biased, second)):
        torch.testing.assert_close(a.weight, b.weight)
        torch.testing.assert_close(a.bias, b.bias)


def test_on_features_the_biased_layer_follows_the_schedule_of_the_run():
    table = table_of(torch.arange(12) % 3)
    method = method_of("lff", table, trainable="head", schedule="cosine", epochs=10, lr=0.4)
    method.enter(0, HeadAlone(torch.nn.Linear(4, 3)))
    rates = []
    for epoch in range(10):
        method.observe(logits_view(torch.zeros(1, 3), torch.zeros(1, dtype=torch.int64), progress=epoch / 10))
        rates.append(method.optimiser.param_groups[0]["lr"])
    assert rates == pytest.approx([0.2 * (1 + math.cos(math.pi * epoch / 10)) for epoch in range(10)])


def test_the_classifiers_differ_and_the_debiased_one_is_left(demo_shard):
    config = config_of("lff", demo_shard, epochs=2, batch_size=20)
    trained = train(config, load(config))
    state = trained.selected.state
    assert not torch.equal(state["nets.0.head.weight"], state["nets.1.head.weight"])
    assert torch.equal(trained.network.head.weight, state["nets.0.head.weight"])


CASES = {
    "whole": {},
    "head": {"trainable": "head"},
    "head-adamw": {"trainable": "head", "optimiser": "adamw", "lr": 0.01},
}


@pytest.mark.parametrize("case", CASES)
def test_killed_it_goes_on_bit_by_bit(demo_shard, tmp_path, case):
    loaded = load(config_of(meta=demo_shard))
    settings, steps = {"method": "lff", **CASES[case]}, []
    whole = killable(short(demo_shard, tmp_path / "whole", **settings), loaded, steps=steps)
    for kill_at in (2, len(steps) // 2, len(steps) - 1):
        config = short(demo_shard, tmp_path / str(kill_at), **settings)
        with pytest.raises(Killed):
            killable(config, loaded, kill_at)
        assert_same(killable(config, loaded, resume=True), whole)


def test_refusals():
    assert_refused("lff", "decay = 1.0: expected a number >= 0 and < 1", decay=1.0)
    assert_refused("lff", "amplification = 0.0: expected a number > 0 and <= 1", amplification=0.0)
    assert_refused("lff", "amplification = 1.5: expected a number > 0 and <= 1", amplification=1.5)
