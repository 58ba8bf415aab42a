"""Co-teaching and JoCoR against loops over pictures, and whole steps against two classifiers trained one by one."""

import copy
import itertools
import math

import pytest
import torch
from torch.nn import functional as F

from clp_aug.contract.errors import UsageError
from clp_train.algorithm.characteristics import View
from clp_train.algorithm.losses import DivergedError
from clp_train.algorithm.method import Method
from clp_train.algorithm.objective import objective
from clp_train.config import make_config
from clp_train.methods import make_options
from clp_train.methods.parts.noisy_losses import mean_of_smallest, symmetric_divergence
from clp_train.methods.peers import kept_count, kept_share
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
from tests.clp_train.methods.shared_cases import probabilities

ORACLES = ("co-teaching", "jocor")


def with_noise(name, wrong=0.0, **options):
    """Return a method for a run of 20 epochs, with so many wrong labels."""
    return method_of(name, table_of(torch.arange(12) % 3, wrong=wrong), options, epochs=20)


def outputs(n, classes, seed):
    """Logits of two classifiers, float64, and labels."""
    g = generator(seed)
    first, second = (3 * torch.randn(n, classes, generator=g, dtype=torch.float64) for _ in range(2))
    return first, second, torch.randint(classes, (n,), generator=g)


def value_of(method, first, second, label, progress):
    """Return the method's whole objective on one batch: what `terms` brings and the penalty."""
    features, none = torch.zeros(len(label), 4), torch.zeros(len(label), dtype=torch.uint8)
    batch = Batch(torch.zeros(len(label), 3, 2, 2), torch.zeros(0), label, label, none, torch.arange(len(label)))
    view = View(first.detach(), features, features, label, label, torch.arange(len(label)), progress)
    method.observe(view)
    penalty = method.penalty(Output(features, first, Output(features, second)), batch, None)
    return objective(first, label, method.terms(view)) + penalty


def cross_entropies(logits, label):
    return [-math.log(probabilities(row)[y]) for row, y in zip(logits.tolist(), label.tolist(), strict=True)]


def easiest(losses, count):
    return sorted(range(len(losses)), key=lambda i: (losses[i], i))[:count]


def kept_by_hand(epoch, tau, ramp, exponent, n):
    left_out = tau if epoch**exponent >= ramp else tau * epoch**exponent / ramp
    return max(1, int(n - left_out * n + 1e-9))


CASES = [(1, 2), (2, 2), (5, 3), (17, 4), (40, 10)]


@pytest.mark.parametrize(("n", "classes"), CASES)
@pytest.mark.parametrize("epoch", [0, 1, 3, 5, 19])
def test_co_teaching_is_by_hand(n, classes, epoch):
    for seed in range(4):
        first, second, label = outputs(n, classes, seed)
        method = with_noise("co-teaching", noise_rate=0.6, ramp=5)
        count = kept_by_hand(epoch, 0.6, 5, 1, n)
        a, b = cross_entropies(first, label), cross_entropies(second, label)
        expected = sum(a[i] for i in easiest(b, count)) / count + sum(b[i] for i in easiest(a, count)) / count
        assert value_of(method, first, second, label, epoch / 20).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("n", "classes"), CASES)
@pytest.mark.parametrize("epoch", [0, 2, 19])
@pytest.mark.parametrize("agreement", [0.0, 0.3, 0.9, 1.0])
def test_jocor_is_by_hand(n, classes, epoch, agreement):
    for seed in range(4):
        first, second, label = outputs(n, classes, seed)
        method = with_noise("jocor", noise_rate=0.5, ramp=4, agreement=agreement)
        joint = []
        for a, b, y in zip(first.tolist(), second.tolist(), label.tolist(), strict=True):
            p, q = probabilities(a), probabilities(b)
            apart = sum(u * math.log(u / v) for u, v in zip(p, q, strict=True))
            apart += sum(v * math.log(v / u) for u, v in zip(p, q, strict=True))
            joint.append((1 - agreement) * (-math.log(p[y]) - math.log(q[y])) + agreement * apart)
        count = kept_by_hand(epoch, 0.5, 4, 1, n)
        expected = sum(joint[i] for i in easiest(joint, count)) / count
        found = value_of(method, first, second, label, epoch / 20).item()
        assert found == pytest.approx(expected, rel=1e-7, abs=1e-12)


def test_jocor_without_agreement_and_noise_is_the_sum_of_two_cross_entropies():
    first, second, label = outputs(9, 4, 0)
    found = value_of(with_noise("jocor", agreement=0.0, noise_rate=0.0), first, second, label, 0.9)
    torch.testing.assert_close(found, F.cross_entropy(first, label) + F.cross_entropy(second, label))


def test_the_divergence_is_that_of_the_library():
    first, second, _ = outputs(9, 4, 1)
    p, q = first.log_softmax(1), second.log_softmax(1)
    expected = F.kl_div(p, q, reduction="none", log_target=True) + F.kl_div(q, p, reduction="none", log_target=True)
    torch.testing.assert_close(symmetric_divergence(first, second), expected.sum(1))
    torch.testing.assert_close(symmetric_divergence(first, first), torch.zeros(9, dtype=torch.float64))
    far = torch.tensor([[1e4, 0.0]]), torch.tensor([[0.0, 1e4]])
    assert symmetric_divergence(*far).isfinite().all()


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("ramp", [1, 4, 10])
@pytest.mark.parametrize("tau", [0.0, 0.36, 0.999])
def test_the_schedule_falls_from_all_to_what_the_noise_leaves(tau, ramp, exponent):
    shares = [kept_share(t, tau, ramp, exponent) for t in range(120)]
    for t in range(1, 120):
        assert shares[t] == pytest.approx(max(1 - t**exponent / ramp * tau, 1 - tau))  # as Han et al. write it
    assert shares[0] == 1
    assert all(a >= b for a, b in itertools.pairwise(shares))


@pytest.mark.parametrize("gradual", [2, 5, 10, 15])
def test_a_ramp_that_is_one_shorter_is_the_schedule_of_published_code(gradual):
    """There the share left out rises over so many epochs, the first with none and the last with all of it."""
    published = [0.4 * t / (gradual - 1) for t in range(gradual)] + [0.4] * 5
    assert [1 - kept_share(t, 0.4, gradual - 1, 1) for t in range(gradual + 5)] == pytest.approx(published)


def test_pictures_are_counted_down_and_one_is_always_kept():
    assert [kept_count(share, 10) for share in (1.0, 0.7, 0.69, 0.3, 0.05)] == [10, 7, 6, 3, 1]
    assert kept_count(0.1, 1) == 1


def test_of_equal_losses_the_first_are_taken():
    assert mean_of_smallest(torch.tensor([2.0, 1.0, 2.0, 1.0, 2.0]), 3).tolist() == pytest.approx(
        [1 / 3, 1 / 3, 0, 1 / 3, 0]
    )


def peers(seed=0):
    return Peers(network_of(seed=seed), network_of(seed=seed + 1))


def test_a_step_of_co_teaching_is_a_step_of_each_classifier_with_an_optimiser_of_its_own():
    network, batch = peers(), batch_of(n=9, rows=True)
    alone = [copy.deepcopy(net) for net in network.nets]
    config = config_of("co-teaching", epochs=20, options={"noise_rate": 0.5, "ramp": 2})
    method, optimiser = with_noise("co-teaching", noise_rate=0.5, ramp=2), optimiser_of(network, config)
    own = [torch.optim.SGD(net.parameters(), config.sgd.lr, config.sgd.momentum, weight_decay=5e-4) for net in alone]
    for number, progress in enumerate((0.0, 0.05, 0.5)):
        step(network, method, optimiser, batch, None, config, number, progress)
        losses = [F.cross_entropy(net(batch.images).logits, batch.label, reduction="none") for net in alone]
        count = [9, 6, 4][number]
        picked = [easiest(part.tolist(), count) for part in losses]
        for part, optimiser_of_one, others in zip(losses, own, reversed(picked), strict=True):
            optimiser_of_one.zero_grad()
            part[others].mean().backward()
            optimiser_of_one.step()
    for net, other in zip(network.nets, alone, strict=True):
        for a, b in zip(net.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(a, b)


def test_a_step_of_jocor_follows_the_joint_loss_of_both():
    network, batch = peers(), batch_of(n=9, rows=True)
    other, config = copy.deepcopy(network), config_of("jocor", epochs=20, options={"noise_rate": 0.5})
    step(network, with_noise("jocor", noise_rate=0.5), optimiser_of(network, config), batch, None, config)
    out, optimiser = other(batch.images), optimiser_of(other, config)
    apart = symmetric_divergence(out.logits, out.other.logits).mean()
    both = F.cross_entropy(out.logits, batch.label) + F.cross_entropy(out.other.logits, batch.label)
    (0.1 * both + 0.9 * apart).backward()
    optimiser.step()
    for a, b in zip(network.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", ORACLES)
def test_the_rate_is_that_of_the_shard_unless_it_is_given(name):
    assert with_noise(name, wrong=0.36).rate == 0.36
    assert with_noise(name, wrong=0.36, noise_rate=0.0).rate == 0.0
    assert make_config({"meta": "x.h5", "method": name}, texts=["noise_rate=0.2"]).given == {"noise_rate": 0.2}
    assert make_config({"meta": "x.h5", "method": name}, texts=["noise_rate=0.2"]).options.noise_rate == 0.2


@pytest.mark.parametrize("name", ORACLES)
def test_the_classifiers_differ_and_the_first_is_left(demo_shard, name):
    config = config_of(meta=demo_shard, method=name, epochs=2, batch_size=20, options={"noise_rate": 0.4, "ramp": 1})
    trained = train(config, load(config))
    state = trained.last.state
    first, second = state["nets.0.head.weight"], state["nets.1.head.weight"]
    assert not torch.equal(first, second)
    assert torch.equal(trained.network.head.weight, trained.selected.state["nets.0.head.weight"])


def test_a_penalty_that_is_not_finite_stops_the_run_and_names_the_step():
    class Broken(Method):
        def penalty(self, out, batch, network):
            return out.logits.sum() * math.inf

    network, config = peers().nets[0], config_of("co-teaching")
    message = r"step 7: the method's penalty is -?(inf|nan); lower the learning rate \(lr\)"
    with pytest.raises(DivergedError, match=message):
        step(network, Broken(), optimiser_of(network, config), batch_of(n=9, rows=True), None, config, 7)


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise_rate": 1.0}, "noise_rate = 1.0: expected a number >= 0 and < 1"),
        ({"noise_rate": float("nan")}, "noise_rate = nan: expected a number >= 0 and < 1"),
        ({"ramp": 0}, "ramp = 0: expected a whole number >= 1"),
        ({"exponent": -1.0}, "exponent = -1.0: expected a number >= 0"),
    ],
)
def test_refused_settings(name, options, message):
    with pytest.raises(UsageError) as error:
        make_options(name, options)
    assert str(error.value) == message


def test_other_refusals():
    with pytest.raises(UsageError, match=r"agreement = 1\.5: expected a number from 0 to 1"):
        make_options("jocor", {"agreement": 1.5})
    message = "trainable = head: method jocor needs two whole networks; take trainable = all"
    with pytest.raises(UsageError, match=message):
        method_of("jocor", table_of([0, 1, 0, 1]), trainable="head")
