"""MFRW-MES: the advisor against finite differences."""

import copy
from dataclasses import replace

import pytest
import torch

from clp_aug.contract.errors import UsageError
from clp_train.algorithm.characteristics import View
from clp_train.algorithm.objective import Terms
from clp_train.algorithm.optimiser import build_optimiser
from clp_train.algorithm.step import train_step
from tests.clp_train.methods.reweighting_cases import (
    batch_of,
    config_of,
    meta_loss_after,
    method_of,
    network_of,
)

ORACLES = ("mfrw-mes",)


def advised(**options):
    """MFRW-MES in float64 with what it is given by the meta step kept, and its network."""
    network, method = network_of(), method_of("mfrw-mes", options)
    method.enter(0, network)
    method.network.double()
    given = []
    method.update = given.append
    return network, method, given


def advised_loss(network, method, batch, equalise):
    """The training loss written out picture by picture, with a graph to the network."""
    out, advisor = network(batch.images), method.network
    total = 0.0
    for h, z, y in zip(out.features, out.logits.detach(), batch.label.tolist(), strict=True):
        loss = -torch.log(z.exp()[y] / z.exp().sum())
        from_features = (advisor.of_features.weight @ h.detach() + advisor.of_features.bias).clamp(min=0)
        from_loss = (advisor.of_loss.weight[:, 0] * loss + advisor.of_loss.bias).clamp(min=0)
        seen = torch.cat([from_features, from_loss])
        gate = 1 / (1 + torch.exp(-(advisor.gate.weight @ seen + advisor.gate.bias)))
        omega = 1 / (1 + torch.exp(-(advisor.omega.weight @ seen + advisor.omega.bias)))
        new = network.head.weight @ (h * gate) + network.head.bias
        others = sum((omega[j] if equalise else 1.0) * new[j].exp() for j in range(3) if j != y)
        total = total - torch.log(new[y].exp() / (new[y].exp() + others))
    return total / len(batch)


def meta_loss_of_advice(network, method, batch, meta, lr, equalise):
    trial = copy.deepcopy(network)
    gradients = torch.autograd.grad(advised_loss(trial, method, batch, equalise), list(trial.parameters()))
    return meta_loss_after(network, [-lr * g for g in gradients], meta)


@pytest.mark.parametrize("mode", ["reference", "forward", "central"])
@pytest.mark.parametrize("equalise", [True, False])
def test_the_advisor_follows_finite_differences(mode, equalise):
    network, method, given = advised(equalise=equalise)
    start = copy.deepcopy(network)
    batch, meta = batch_of(5), replace(batch_of(4, 7), row=None)
    config = config_of("mfrw-mes", hypergradient=mode, lr=0.5)
    train_step(network, method, build_optimiser(network, config), batch, meta, config, 0)
    (gradients,) = given
    g = torch.Generator().manual_seed(3)
    for values, gradient in zip(method.learned, gradients, strict=True):
        at = int(gradient.abs().flatten().argmax()) if torch.rand((), generator=g) < 0.5 else 0
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                values.view(-1)[at] += sign * 1e-4
            ends.append(meta_loss_of_advice(start, method, batch, meta, 0.5, equalise))
            with torch.no_grad():
                values.view(-1)[at] -= sign * 1e-4
        assert gradient.flatten()[at].item() == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=2e-3, abs=2e-8)
    moved = [gradient.abs().max() > 0 for gradient in gradients]
    assert moved == [True] * 6 + [equalise] * 2  # without MES nothing reaches its layer


@pytest.mark.parametrize("scope", ["all", "last-block"])
def test_an_advised_step_is_the_step_of_its_loss(scope):
    batch, meta = batch_of(5), replace(batch_of(4, 7), row=None)
    for seen in (meta, None):
        network, method, _ = advised()
        other, config = copy.deepcopy(network), config_of("mfrw-mes", meta_scope=scope)
        losses = train_step(network, method, build_optimiser(network, config), batch, seen, config, 0)
        loss, optimiser = advised_loss(other, method, batch, True), build_optimiser(other, config)
        loss.backward()
        optimiser.step()
        assert losses.train == pytest.approx(loss.item())
        for a, b in zip(network.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(a, b)


def test_the_advisor_is_not_heard_on_meta_pictures_and_in_predictions():
    network, method, _ = advised()
    out = network(batch_of(3).images)
    view = View(
        out.logits.detach(), out.features.detach(), network.head.weight.detach(), torch.arange(3), torch.arange(3)
    )
    assert method.terms(view) == Terms()
    assert method.predict(out, network.head) is out.logits
    terms = method.terms(view._replace(row=torch.arange(3)))
    assert terms.delta.diagonal().tolist() == [0, 0, 0]
    assert (terms.delta <= 0).all()
    assert ((terms.gate > 0) & (terms.gate < 1)).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"trainable": "head"},
            "--set trainable=head: method mfrw-mes acts on features that learn; take --set trainable=all",
        ),
        (
            {"meta_step": "lagged"},
            "--set meta_step=lagged: method mfrw-mes needs the head as it was; take --set meta_step=exact",
        ),
    ],
)
def test_mfrw_refuses(settings, message):
    with pytest.raises(UsageError) as error:
        method_of("mfrw-mes", **settings)
    assert str(error.value) == message
