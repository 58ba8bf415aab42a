"""Learning rates: the head's own, schedules, and the virtual step that follows both."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch.func import functional_call
from torch.nn import functional as F

from clp_train.algorithm.losses import meta_losses
from clp_train.algorithm.optimiser import build_optimiser, learning_rates, rate_factor
from clp_train.algorithm.step import train_step
from clp_train.models.parts import heads
from tests.clp_train.builders import batch_of, config_of, parts, step, train


def rates_of(network, config):
    optimiser, weights = build_optimiser(network, heads(network), config.sgd), dict(network.named_parameters())
    return dict(zip(weights, learning_rates(weights, optimiser), strict=True))


def test_the_head_has_a_learning_rate_of_its_own():
    config, network, _, _ = parts("erm", lr=0.1, head_lr=0.7)
    assert {name: rate for name, rate in rates_of(network, config).items() if rate != 0.1} == {
        "head.weight": 0.7, "head.bias": 0.7
    }  # fmt: skip
    config, network, _, _ = parts("erm", lr=0.1)
    assert set(rates_of(network, config).values()) == {0.1}


def test_steps_with_two_learning_rates_are_those_of_sgd():
    config, network, method, optimiser = parts("erm", lr=0.1, head_lr=0.7)
    other = copy.deepcopy(network)
    body = [w for name, w in other.named_parameters() if not name.startswith("head.")]
    plain = torch.optim.SGD(
        [{"params": body, "lr": 0.1}, {"params": other.head.parameters(), "lr": 0.7}], 0.1, 0.9, weight_decay=5e-4
    )
    for number in range(3):
        batch = batch_of(number, 6)
        step(network, method, optimiser, batch, None, config, number)
        plain.zero_grad()
        F.cross_entropy(other(batch.images).logits, batch.label).backward()
        plain.step()
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, other.state_dict()[name])


def test_the_virtual_step_has_two_learning_rates_too():
    config, network, method, optimiser = parts("clp", lr=0.1, head_lr=0.7, saliency_lambda=0.0)
    net, batch, meta = copy.deepcopy(network), batch_of(0, 6), batch_of(1, 6, (0, 1, 2))
    out = net(batch.images)
    buffers = {name: value.clone() for name, value in net.named_buffers()}
    seen = SimpleNamespace(logits=out.logits.detach(), features=out.features.detach(), head=net.head.weight.detach())
    seen.label = seen.group = batch.label
    other = copy.copy(method)
    other.observe(seen)
    loss = F.cross_entropy(out.logits + other.terms(seen).delta.detach(), batch.label)
    weights = dict(net.named_parameters())
    gradients = dict(zip(weights, torch.autograd.grad(loss, weights.values()), strict=True))
    virtual = {n: w - (0.7 if n.startswith("head.") else 0.1) * gradients[n] for n, w in weights.items()}
    logits = functional_call(net, {**virtual, **buffers}, (meta.images,)).logits
    expected = meta_losses(logits, meta.label, meta.kind).mean().item()
    found = step(network, method, optimiser, batch, meta, config)
    assert found.meta == pytest.approx(expected, rel=1e-10)


SCHEDULES = {  # of a stage of five epochs
    "constant": [1, 1, 1, 1, 1],
    "cosine": [1, 0.9045084971874737, 0.6545084971874737, 0.34549150281252633, 0.09549150281252627],
    "steps": [1, 1, 1, 0.1, 0.01],
}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules(schedule):
    settings = config_of(schedule=schedule).sgd
    assert [rate_factor(settings, epoch, 5) for epoch in range(5)] == pytest.approx(SCHEDULES[schedule])
    assert rate_factor(settings, 0, 1) == 1


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_a_run_follows_its_schedule(loaded, demo_shard, schedule):
    """Both learning rates, each epoch; a stage starts the schedule anew."""
    used = []

    def note(network, method, optimiser, *rest):
        used.append(set(learning_rates(dict(network.named_parameters()), optimiser)))
        return train_step(network, method, optimiser, *rest)

    settings = {"epochs": 4, "batch_size": 80, "lr": 0.1, "head_lr": 0.3, "schedule": schedule}
    config = config_of("dfr", demo_shard, {"fit": "sgd"}, **settings)
    trained = train(config, loaded, train_step=note)
    factors = [1, 1, 1, 1] if schedule == "constant" else [1, 0.5, 1, 0.5]
    assert [line["lr"] for line in trained.history] == pytest.approx([0.1 * f for f in factors])
    assert [sorted(rates) for rates in used[:2]] == [pytest.approx([0.1 * f, 0.3 * f]) for f in factors[:2]]
    assert [sorted(rates) for rates in used[2:]] == [pytest.approx([0.3 * f]) for f in factors[2:]]
