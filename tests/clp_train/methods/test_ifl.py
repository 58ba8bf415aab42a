"""IFL: its environments by loops over pictures, its centres against SGD on the centre loss, and a whole step."""

import copy
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from clp_aug.contract.errors import UsageError
from clp_train.algorithm.characteristics import View
from clp_train.algorithm.objective import Terms
from clp_train.methods.ifl import environment_weights, moved
from clp_train.models.parts import Output
from clp_train.pictures.batching import steps_per_epoch
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
)
from tests.clp_train.methods.moments_cases import TWELVE
from tests.clp_train.methods.shared_cases import assert_refused
from tests.clp_train.resuming import Killed, assert_same, killable, short

ORACLES = ("ifl",)


def ifl(label=TWELVE, classes=3, **options):
    return method_of("ifl", table_of(label, classes=classes), options)


def weights_by_hand(probability, label, classes):
    found = [0.0] * len(label)
    for c in range(classes):
        own = {i: p for i, (p, y) in enumerate(zip(probability, label, strict=True)) if y == c}
        low, high = min(own.values(), default=0), max(own.values(), default=0)
        if len(own) < 5 or low == high:
            found = [1 / len(own) if i in own else w for i, w in enumerate(found)]
            continue
        hard = {i: 1 - (p - low) / (high - low) + 1e-5 for i, p in own.items()}
        ordered = sorted(hard.values())
        easy, rest = ordered[: math.floor(0.8 * len(own))], ordered[len(own) - math.floor(0.2 * len(own)) :]
        ratio = math.fsum(rest) / len(rest) / (math.fsum(easy) / len(easy)) + 1e-5
        exponent = min(max(math.log(4) / math.log(ratio), 1), 10)
        raw = {i: d**exponent + 1e-12 for i, d in hard.items()}
        for i, w in raw.items():
            found[i] = w / math.fsum(raw.values())
    return found


@pytest.mark.parametrize("seed", range(20))
def test_weights_of_the_second_environment(seed):
    g = generator(seed)
    n, classes = int(torch.randint(1, 60, (), generator=g)), int(torch.randint(1, 6, (), generator=g))
    label = torch.randint(classes, (n,), generator=g)
    probability = torch.rand(n, generator=g, dtype=torch.float64) ** (1 + seed)
    probability = probability if seed % 2 else 1 - probability  # from even to nearly all hard, or nearly all easy
    found = environment_weights(probability, label, classes)
    assert found.tolist() == pytest.approx(weights_by_hand(probability.tolist(), label.tolist(), classes))
    assert found.sum().item() == pytest.approx(len(label.unique()))  # one for each class that is there
    for c in label.unique():
        own = label == c
        if own.sum() >= 5:
            assert (found[own][probability[own].argsort(descending=True)].diff() >= 0).all()  # harder, more often


def test_names_of_classes_do_not_matter_to_the_environments():
    g = generator(0)
    label, order = torch.randint(12, (80,), generator=g), torch.randperm(12, generator=g)
    probability = torch.rand(80, generator=g, dtype=torch.float64)
    first, second = (environment_weights(probability, y, 12) for y in (label, order[label]))
    assert torch.equal(first, second)


def test_by_hand():
    """Hardness 0, 0, 0, 0, 1: the ratio is huge, the exponent 1, and the hard one takes all."""
    weights = environment_weights(torch.tensor([0.9] * 4 + [0.1]).double(), torch.zeros(5, dtype=int), 1)
    assert weights.tolist() == pytest.approx([1e-5 / (1 + 5e-5)] * 4 + [(1 + 1e-5) / (1 + 5e-5)])


@pytest.mark.parametrize("n", [1, 4, 5, 12])
def test_equal_pictures_weigh_the_same(n):
    weights = environment_weights(torch.full((n,), 0.3, dtype=torch.float64), torch.zeros(n, dtype=int), 1)
    assert weights.tolist() == pytest.approx([1 / n] * n)


def scored(label, seed=0, classes=3, width=4):
    g = generator(seed)
    return Output(*(torch.randn(len(label), k, generator=g, dtype=torch.float64) for k in (width, classes)))


@pytest.mark.parametrize(("epochs", "made"), [(10, [6, 8]), (5, [3, 4]), (100, [60, 80]), (3, [2]), (1, [])])
def test_when_the_second_environment_is_made(epochs, made):
    method, asked, starts = ifl(), [], None
    for epoch in range(epochs):
        method.begin_epoch(epoch, epochs, lambda stream, e=epoch: asked.append((stream, e)) or scored(TWELVE, e))
        starts = starts if starts is not None or method.centres is None else method.centres
        if method.centres is not None:
            assert method.centres is starts  # the centres are not started again
    assert asked == [("train", e) for e in made]
    if made:
        own = scored(TWELVE, made[-1]).logits.softmax(1).gather(1, TWELVE[:, None]).squeeze(1)
        assert method.weights.tolist() == pytest.approx(weights_by_hand(own.tolist(), TWELVE.tolist(), 3))
        features = scored(TWELVE, made[0]).features
        for c in range(3):
            torch.testing.assert_close(starts[c], features[c == TWELVE].mean(0))


@pytest.mark.parametrize(("n", "size"), [(12, 5), (12, 12), (31, 7), (2, 2), (101, 50)])
def test_an_epoch_has_as_many_pictures_as_there_are(n, size):
    label = torch.arange(n) % 2
    batches = ifl(label, 2).batches(0, size, np.random.default_rng(0))
    assert len(batches) == steps_per_epoch(n, size)
    assert sum(map(len, batches)) == n
    assert max(map(len, batches)) <= size
    assert max(map(len, batches)) - min(map(len, batches)) <= 1


def how_often(method, rng, rounds):
    """Return how often each of ten rows comes in so many epochs."""
    rows = [batch for _ in range(rounds) for batch in method.batches(0, 4, rng)]
    return np.bincount(np.concatenate(rows), minlength=10)


def test_half_of_each_batch_is_of_each_environment():
    label = torch.tensor([0] * 8 + [1] * 2)
    method, rng = ifl(label, 2), np.random.default_rng(0)
    method.weights = torch.tensor([0.5, 0.5] + [0.0] * 6 + [0.25, 0.75], dtype=torch.float64)
    rounds = 4000
    drawn = how_often(method, rng, rounds)
    expected = 0.5 / 10 + 0.5 * method.weights.numpy() / 2
    error = np.sqrt(expected * (1 - expected) / (10 * rounds))
    assert (np.abs(drawn / (10 * rounds) - expected) < 5 * error).all()
    for batch in method.batches(0, 4, rng):
        assert np.isin(batch, [0, 1, 8, 9]).sum() >= len(batch) // 2  # the second environment knows no others


def test_before_that_both_are_the_training_set():
    method, rng = ifl(torch.arange(10) % 2, 2), np.random.default_rng(0)
    drawn = how_often(method, rng, 4000)
    assert (np.abs(drawn / 40000 - 0.1) < 5 * math.sqrt(0.09 / 40000)).all()


@pytest.mark.parametrize("rate", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_centres_move_as_sgd_moves_them(seed, rate):
    g = generator(seed)
    start = torch.randn(4, 3, generator=g, dtype=torch.float64)
    features, label = torch.randn(1 + seed, 3, generator=g, dtype=torch.float64), torch.arange(1 + seed) % 3
    centres = start.clone().requires_grad_()
    optimiser = torch.optim.SGD([centres], lr=rate)
    sum((f - centres[y]).square().sum() / len(label) for f, y in zip(features, label, strict=True)).backward()
    optimiser.step()
    torch.testing.assert_close(moved(start, features, label, rate), centres.detach())


@pytest.mark.parametrize("loss", ["cross-entropy", "balanced-softmax"])
def test_a_step_with_centres(loss):
    network, batch = network_of(), batch_of(n=12)
    label = torch.tensor([0] * 6 + [1] * 3 + [2])
    method, config = ifl(label, loss=loss, first_pull=0.2, second_pull=0.7, centre_rate=0.3), config_of("ifl")
    method.begin_epoch(6, 10, lambda _: scored(label, width=64))
    other, centres = copy.deepcopy(network), method.centres.clone().requires_grad_()
    step(network, method, optimiser_of(network, config), batch, None, config, progress=0.9)

    optimiser, out = optimiser_of(other, config), other(batch.images)
    logits = out.logits + (torch.tensor([6.0, 3, 1]).log() if loss == "balanced-softmax" else 0)
    gaps = torch.stack([(f - centres[y]).square().sum() for f, y in zip(out.features, batch.label, strict=True)])
    (F.cross_entropy(logits, batch.label) + 0.7 * gaps.mean()).backward()
    optimiser.step()
    for a, b in zip(network.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(method.centres, (centres - 0.3 * centres.grad / 0.7).detach())


def test_before_the_second_environment_it_is_cross_entropy():
    method = ifl()
    features, logits = torch.randn(12, 4), torch.randn(12, 3)
    method.observe(View(logits, features, torch.zeros(3, 4), TWELVE, TWELVE, torch.arange(12), 0.59))
    assert method.terms(None) == Terms()
    assert method.penalty(Output(features, logits), None, None) is None
    assert method.state_dict() == {}


def test_all_state_goes_on():
    method, other = ifl(), ifl()
    method.begin_epoch(6, 10, lambda _: scored(TWELVE))
    other.load_state_dict({name: value.clone() for name, value in method.state_dict().items()})
    for a, b in zip(*(one.batches(7, 5, np.random.default_rng(3)) for one in (method, other)), strict=True):
        assert np.array_equal(a, b)
    assert torch.equal(method.centres, other.centres)
    for name in method.state_dict():
        with pytest.raises(KeyError):
            other.load_state_dict({k: v for k, v in method.state_dict().items() if k != name})


@pytest.mark.parametrize("kill_at", [5, 7, 8, 10])
def test_killed_with_environments(demo_shard, tmp_path, kill_at):
    loaded = load(config_of(meta=demo_shard, method="erm"))
    change = {"method": "ifl", "options": {"first": 0.3, "second": 0.6, "first_pull": 0.01}}
    whole = killable(short(demo_shard, tmp_path / "whole", **change), loaded)
    config = short(demo_shard, tmp_path / "killed", **change)
    with pytest.raises(Killed):
        killable(config, loaded, kill_at)
    assert_same(killable(config, loaded, resume=True), whole)


def test_its_settings():
    for name in ("first", "second", "centre_rate"):
        assert_refused("ifl", f"{name} = 1.5: expected a number from 0 to 1", **{name: 1.5})
    for name in ("first_pull", "second_pull"):
        assert_refused("ifl", f"{name} = -1.0: expected a number >= 0", **{name: -1.0})
    assert_refused("ifl", "loss = mse: expected one of cross-entropy, balanced-softmax", loss="mse")
    with pytest.raises(UsageError) as error:
        config_of("ifl", options={"second": 0.5})
    assert str(error.value) == "second = 0.5: expected a share of the epochs >= first, 0.6"
