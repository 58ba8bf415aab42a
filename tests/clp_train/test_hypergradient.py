"""Eqs. (8) and (9): the hypergradient against finite differences of L_meta(W_hat(Omega)), in float64."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from clp_train.hypergradient import hypergradient, virtual_pass
from clp_train.losses import cross_entropy, meta_losses, saliency

LR = 0.3


def problem():
    """A conv-BN classifier in train mode, an Omega that is not zero, and two batches; all float64."""
    torch.manual_seed(0)  # of this test's own problem
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Softplus(), nn.Flatten(), nn.Linear(4 * 9, 3))
    omega = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3))
    train = torch.rand(8, 3, 5, 5, dtype=torch.float64), torch.randint(3, (8,))
    meta = torch.rand(6, 3, 5, 5, dtype=torch.float64), torch.randint(3, (6,))
    g_train, g_meta = torch.randn(8, 4, dtype=torch.float64), torch.randn(6, 4, dtype=torch.float64)
    return net.double(), omega.double(), train, meta, g_train, g_meta


KIND = torch.tensor([0, 1, 2, 0, 1, 2], dtype=torch.uint8)
INSIDE = F.one_hot(torch.tensor([0, 1, 2, 0, 1, 2]), 5).bool()[:, :, None].expand(6, 5, 5)


def objective(out, images, label, delta, with_saliency):
    loss = meta_losses(out, label, KIND, delta).mean()
    return loss + saliency(images, out, INSIDE, label, "logit").mean() if with_saliency else loss


def by_hand(net, omega, train, meta, g_train, g_meta, constant, with_delta, with_saliency):
    """L_meta(W_hat(Omega)) the obvious way: copy the network, step its weights, look at the loss."""
    stepped = copy.deepcopy(net)
    F.cross_entropy(stepped(train[0]) + omega(g_train).detach(), train[1]).backward()
    with torch.no_grad():
        for w, c in zip(stepped.parameters(), constant, strict=True):
            w -= LR * (w.grad + c)
    images = meta[0].clone().requires_grad_()
    delta = omega(g_meta) if with_delta else None
    return objective(stepped(images), images, meta[1], delta, with_saliency).item()


@pytest.mark.parametrize("with_saliency", [False, True])
@pytest.mark.parametrize("with_delta", [False, True])
def test_equals_finite_differences(with_delta, with_saliency):
    net, omega, train, meta, g_train, g_meta = problem()
    learned = tuple(omega.parameters())
    constant = [0.1 * torch.randn_like(w) for w in net.parameters()]

    def meta_loss(weights):
        images = meta[0].clone().requires_grad_()
        out = virtual_pass(net, weights, images)
        return objective(out, images, meta[1], omega(g_meta) if with_delta else None, with_saliency)

    train_loss = cross_entropy(net(train[0]), train[1], omega(g_train)).mean()
    found, value = hypergradient(net, learned, train_loss, meta_loss, LR, constant)
    args = (net, omega, train, meta, g_train, g_meta, constant, with_delta, with_saliency)
    assert value.item() == pytest.approx(by_hand(*args), rel=1e-12)
    step = 1e-5
    for tensor, gradient in zip(learned, found, strict=True):
        expected = torch.empty_like(gradient)
        flat, out = tensor.data.view(-1), expected.view(-1)
        for i in range(len(flat)):
            flat[i] += step
            up = by_hand(*args)
            flat[i] -= 2 * step
            out[i] = (up - by_hand(*args)) / (2 * step)
            flat[i] += step
        assert gradient.abs().max() > 1e-4  # the comparison below is of something
        torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-9)


def test_without_a_constant_part_it_is_zero():
    net, omega, train, meta, g_train, _ = problem()

    def run(constant):
        loss = cross_entropy(net(train[0]), train[1], omega(g_train)).mean()
        return hypergradient(
            net,
            tuple(omega.parameters()),
            loss,
            lambda w: cross_entropy(virtual_pass(net, w, meta[0]), meta[1]).mean(),
            LR,
            constant,
        )[0]

    for a, b in zip(run(None), run([torch.zeros_like(w) for w in net.parameters()]), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_a_constant_delta_moves_nothing():
    """Every Omega that adds one number to all logits is a no-op, so its hypergradient is zero."""
    net, _, train, meta, _, _ = problem()
    shift = torch.ones(8, 1, dtype=torch.float64, requires_grad=True)
    loss = cross_entropy(net(train[0]), train[1], shift.expand(8, 3)).mean()
    (found,), _ = hypergradient(
        net, (shift,), loss, lambda w: cross_entropy(virtual_pass(net, w, meta[0]), meta[1]).mean(), LR
    )
    assert found.abs().max() < 1e-15


def test_virtual_passes_leave_the_network_alone():
    net, _, _, meta, _, _ = problem()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    moved = {name: value + 1 for name, value in net.named_parameters()}
    out = virtual_pass(net, moved, meta[0])
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    stepped = copy.deepcopy(net)
    stepped.load_state_dict({name: v.detach() for name, v in moved.items()}, strict=False)
    torch.testing.assert_close(out, stepped(meta[0]))
    assert not torch.equal(stepped[1].running_mean, before["1.running_mean"])  # a real pass would have moved them
