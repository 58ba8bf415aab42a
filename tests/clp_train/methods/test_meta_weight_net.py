"""Meta-Weight-Net in the form for long tails: its virtual step against the loss differentiated as it is written."""

import copy
import math

import pytest
import torch
from torch.func import functional_call
from torch.nn import functional as F

from clp_aug.contract.errors import SettingError
from clp_train.algorithm.objective import objective
from clp_train.algorithm.settings import MetaStepSettings
from clp_train.algorithm.step import StepRule, train_step
from clp_train.methods.mwn import MetaWeightNet, Options, WeightNet, attached_weights
from clp_train.models import build_model
from tests.clp_train.builders import batch_of, config_of, generator, method_of, table_of, view_of
from tests.clp_train.methods.shared_cases import assert_refused
from tests.clp_train.methods.subpop_cases import small_run
from tests.clp_train.resuming import Killed, assert_same, killable, short

ORACLES = ("mwn",)
RATE, OMEGA_RATE = 0.1, 1e-2
LONG_TAIL = {"normaliser": "sum_w", "attached": True, "omega_optimiser": "sgd", "omega_lr": OMEGA_RATE}


def weight_net(seed):
    """A weight net whose weights differ from loss to loss, float64."""
    network = WeightNet(generator(seed)).double()
    with torch.no_grad():
        for values in network.parameters():
            values.mul_(4)
    return network


@pytest.mark.parametrize("normaliser", ["n", "sum_w"])
@pytest.mark.parametrize("seed", range(8))
def test_attached_weights_are_slopes_of_the_whole_loss(seed, normaliser):
    """By differences, loss by loss, in plain arithmetic."""
    network, losses = weight_net(seed), torch.rand(5, generator=generator(seed + 9), dtype=torch.float64) * 4

    def whole(values):
        with torch.no_grad():
            weights = network(torch.tensor(values, dtype=torch.float64)).tolist()
        total = math.fsum(w * v for w, v in zip(weights, values, strict=True))
        return total / (len(values) if normaliser == "n" else math.fsum(weights))

    found = attached_weights(network, losses, normaliser)
    for i in range(5):
        up, down = ([v + e * (k == i) for k, v in enumerate(losses.tolist())] for e in (1e-5, -1e-5))
        assert found[i].item() / 5 == pytest.approx((whole(up) - whole(down)) / 2e-5, rel=1e-5, abs=1e-8)
    assert torch.autograd.gradcheck(
        lambda *omega: functional_attached(network, omega, losses, normaliser), tuple(network.parameters())
    )


def functional_attached(network, omega, losses, normaliser):
    """The same as a function of Omega's tensors."""
    names = [name for name, _ in network.named_parameters()]
    return attached_weights(
        lambda x: functional_call(network, dict(zip(names, omega, strict=True)), (x,)), losses, normaliser
    )


def step_by_hand(network, omega, batch, meta, attached):
    """Eq. (8) with a graph, the gradient of the meta loss, an SGD step of Omega, then a step with constant weights."""
    weights = dict(network.named_parameters())

    def run(own, images):
        buffers = {name: value.clone() for name, value in network.named_buffers()}
        return functional_call(network, {**own, **buffers}, (images,)).logits

    losses = F.cross_entropy(run(weights, batch.images), batch.label, reduction="none")
    v = omega(losses if attached else losses.detach())
    slopes = torch.autograd.grad((v * losses).sum() / v.sum(), tuple(weights.values()), create_graph=True)
    virtual = {name: w - RATE * slope for (name, w), slope in zip(weights.items(), slopes, strict=True)}
    meta_loss = F.cross_entropy(run(virtual, meta.images), meta.label)
    for values, slope in zip(omega.parameters(), torch.autograd.grad(meta_loss, omega.parameters()), strict=True):
        values.grad = slope
    torch.optim.SGD(omega.parameters(), OMEGA_RATE, 0.9, weight_decay=5e-4, nesterov=True).step()
    losses = F.cross_entropy(network(batch.images).logits, batch.label, reduction="none")
    v = omega(losses).detach()
    real = torch.autograd.grad((v * losses).sum() / v.sum(), tuple(weights.values()))
    with torch.no_grad():
        for w, slope in zip(weights.values(), real, strict=True):
            w -= RATE * slope


@pytest.mark.parametrize("mode", ["forward", "reference"])
@pytest.mark.parametrize("attached", [True, False])
@pytest.mark.parametrize("seed", range(2))
def test_a_step_by_hand(seed, attached, mode):
    network = build_model("resnet8", 4, [0.5] * 3, [0.5] * 3, generator(seed)).double().train()
    method = MetaWeightNet(Options(**(LONG_TAIL | {"attached": attached})), generator(seed))
    method.network.load_state_dict(weight_net(seed).state_dict())
    method.network.double()
    other, omega = copy.deepcopy(network), copy.deepcopy(method.network)
    batch, meta = batch_of(seed, 9, classes=4, side=16, rows=True), batch_of(7, 6, classes=4, side=16)
    before = copy.deepcopy(omega)
    step_by_hand(other, omega, batch, meta, attached)
    optimiser = torch.optim.SGD(network.parameters(), RATE)
    train_step(network, method, optimiser, batch, meta, StepRule(MetaStepSettings(hypergradient=mode), seed=None), 0)
    for found, expected, was in zip(method.learned, omega.parameters(), before.parameters(), strict=True):
        torch.testing.assert_close(found - was, expected - was, rtol=1e-7, atol=1e-14)
    for found, expected in zip(network.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_the_real_step_has_plain_weights_and_each_step_starts_anew():
    method, view = method_of("mwn", table_of([0, 1, 2]), LONG_TAIL), view_of()
    plain = method_of("mwn", table_of([0, 1, 2]), {"normaliser": "sum_w"})
    assert torch.equal(method.terms(view).weight, plain.terms(view).weight), "before a step nothing is virtual"
    for _ in range(2):
        method.observe(view)
        virtual = method.terms(view)
        assert virtual.normaliser == "n"
        method.update(torch.autograd.grad(objective(view.logits, view.label, virtual), method.learned))
        real = method.terms(view)
        losses = F.cross_entropy(view.logits, view.label, reduction="none")
        assert torch.equal(real.weight, method.network(losses))
        assert real.normaliser == "sum_w"


def test_a_killed_run_goes_on_with_the_momentum_of_omega(demo_shard, tmp_path):
    run = small_run(config_of(meta=demo_shard, method="erm"))
    change = {"method": "mwn", "options": LONG_TAIL, "checkpoint_interval": 10, "meta_interval": 1}
    whole = killable(short(demo_shard, tmp_path / "whole", **change), run)
    killed = short(demo_shard, tmp_path / "killed", **change)
    with pytest.raises(Killed):
        killable(killed, run, 11)
    assert_same(killable(killed, run, resume=True), whole)


def test_what_is_refused():
    assert_refused("mwn", "omega_optimiser = rprop: expected one of adam, sgd", omega_optimiser="rprop")
    for change, message in (
        ({"meta_step": "lagged"}, "meta_step = lagged: method mwn with attached = true needs its own virtual step"),
        ({"meta_interval": 2}, "meta_interval = 2: method mwn with attached = true takes a meta step before every"),
    ):
        table = table_of([0, 1])
        method_of("mwn", table, {"attached": False}, **change)
        with pytest.raises(SettingError) as error:
            method_of("mwn", table, {"attached": True}, **change)
        assert str(error.value).startswith(message)
