"""MFRW-MES: the advisor against finite differences."""

import copy

import pytest
import torch

from clp_aug.contract.errors import UsageError
from clp_train.algorithm.characteristics import View
from clp_train.algorithm.objective import Terms
from tests.clp_train.builders import batch_of, config_of, generator, method_of, network_of, optimiser_of, step
from tests.clp_train.methods.reweighting_cases import meta_loss_after, with_meta

ORACLES = ("mfrw-mes",)


def advised(**options):
    """MFRW-MES in float64 with what it is given by the meta step kept, and its network."""
    network, method = network_of(), method_of("mfrw-mes", with_meta(), options)
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
    batch, meta = batch_of(n=5, rows=True), batch_of(7, 4)
    config = config_of("mfrw-mes", hypergradient=mode, lr=0.5)
    step(network, method, optimiser_of(network, config), batch, meta, config)
    (gradients,) = given
    g = generator(3)
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
    batch, meta = batch_of(n=5, rows=True), batch_of(7, 4)
    for seen in (meta, None):
        network, method, _ = advised()
        other, config = copy.deepcopy(network), config_of("mfrw-mes", meta_scope=scope)
        losses = step(network, method, optimiser_of(network, config), batch, seen, config)
        loss, optimiser = advised_loss(other, method, batch, True), optimiser_of(other, config)
        loss.backward()
        optimiser.step()
        assert losses.train == pytest.approx(loss.item())
        for a, b in zip(network.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(a, b)


def test_the_advisor_is_not_heard_on_meta_pictures_and_in_predictions():
    network, method, _ = advised()
    out = network(batch_of(n=3).images)
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
            "trainable = head: method mfrw-mes acts on features that learn; take trainable = all",
        ),
        (
            {"meta_step": "lagged"},
            "meta_step = lagged: method mfrw-mes needs the head as it was; take meta_step = exact",
        ),
    ],
)
def test_mfrw_refuses(settings, message):
    with pytest.raises(UsageError) as error:
        method_of("mfrw-mes", with_meta(), **settings)
    assert str(error.value) == message
