"""Eqs. (8) and (9): the hypergradient against finite differences of L_meta(W_hat(Omega)), in float64."""

import copy

import pytest
import torch
from torch.nn import functional as F

from clp_train.algorithm.hypergradient import hypergradient
from clp_train.algorithm.losses import cross_entropy, meta_losses
from clp_train.algorithm.passes import virtual_pass
from clp_train.algorithm.saliency import saliency
from clp_train.algorithm.slopes import SLOPES
from tests.clp_train.algorithm.small_cases import KIND, problem

LR = 0.3
MODES = (*SLOPES, "reference")
CLOSE = dict.fromkeys(MODES, 1e-5) | {"one-sided": 1e-3}  # in float64, where curvature alone is left
INSIDE = F.one_hot(torch.tensor([0, 1, 2, 0, 1, 2]), 5).bool()[:, :, None].expand(6, 5, 5)


def objective(out, images, label, delta, with_saliency):
    loss = meta_losses(out, label, KIND, delta).mean()
    return loss + saliency(images, out, INSIDE, label, "logit").mean() if with_saliency else loss


def by_hand(net, omega, train, meta, g_train, g_meta, constant, with_delta, with_saliency):
    """L_meta(W_hat(Omega)) the obvious way: copy the network, step its weights, look at the loss."""
    stepped = copy.deepcopy(net)
    F.cross_entropy(stepped(train[0]).logits + omega(g_train).detach(), train[1]).backward()
    with torch.no_grad():
        for w, c in zip(stepped.parameters(), constant, strict=True):
            w -= LR * (w.grad + c)
    images = meta[0].clone().requires_grad_()
    delta = omega(g_meta) if with_delta else None
    return objective(stepped(images).logits, images, meta[1], delta, with_saliency).item()


def solve(net, learned, train, behind, meta_loss, constant, mode, scope=None):
    weights = {name: w for name, w in net.named_parameters() if scope is None or name in scope}
    logits = net(train[0]).logits
    rates = [LR] * len(weights)
    found = hypergradient(net, weights, train[0], logits, behind, learned, meta_loss, rates, drift=constant, mode=mode)
    return found.gradients, found.meta_loss


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("with_saliency", [False, True])
@pytest.mark.parametrize("with_delta", [False, True])
def test_equals_finite_differences(with_delta, with_saliency, mode):
    net, omega, train, meta, g_train, g_meta = problem()
    learned = tuple(omega.parameters())
    constant = [0.1 * torch.randn_like(w) for w in net.parameters()]

    def meta_loss(weights):
        images = meta[0].clone().requires_grad_()
        out = virtual_pass(net, weights, images).logits
        return objective(out, images, meta[1], omega(g_meta) if with_delta else None, with_saliency)

    def behind(u):
        return cross_entropy(u, train[1], omega(g_train)).mean()

    found, value = solve(net, learned, train, behind, meta_loss, constant, mode)
    args = (net, omega, train, meta, g_train, g_meta, constant, with_delta, with_saliency)
    assert value.item() == pytest.approx(by_hand(*args), rel=1e-12)
    step, tolerance = 1e-5, CLOSE[mode]
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
        torch.testing.assert_close(gradient, expected, rtol=tolerance, atol=1e-4 * tolerance)


LEARNED = {  # what sits behind the logits: a perturbation, a weight a picture, weights that are normalised, a scale
    "delta": lambda omega, g, u, y: cross_entropy(u, y, omega(g)).mean(),
    "weight": lambda omega, g, u, y: (omega(g)[:, 0].sigmoid() * cross_entropy(u, y)).mean(),
    "normalised weight": lambda omega, g, u, y: (omega(g)[:, 0].softmax(0) * cross_entropy(u, y)).sum(),
    "scale and delta": lambda omega, g, u, y: cross_entropy(2.5 * u, y, omega(g).tanh()).mean(),
}


@pytest.mark.parametrize("what", LEARNED)
@pytest.mark.parametrize("scope", [None, ("4.weight", "4.bias")], ids=["all weights", "the head alone"])
def test_forward_equals_the_double_backward_to_1e_6(what, scope):
    net, omega, train, meta, g_train, _ = problem()
    learned = tuple(omega.parameters())

    def behind(u):
        return LEARNED[what](omega, g_train, u, train[1])

    def meta_loss(weights):
        return meta_losses(virtual_pass(net, weights, meta[0]).logits, meta[1], KIND).mean()

    forward, a = solve(net, learned, train, behind, meta_loss, None, "forward", scope)
    reference, b = solve(net, learned, train, behind, meta_loss, None, "reference", scope)
    assert a.item() == pytest.approx(b.item(), rel=1e-12)
    scale = max(gradient.abs().max() for gradient in reference)
    assert scale > 1e-6
    for x, y in zip(forward, reference, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-6, atol=1e-6 * scale.item())


@pytest.mark.parametrize("mode", MODES)
def test_a_loss_that_follows_weights_beside_the_logits(mode):
    """delta = W_head S is of the head's weights and of S, which is learned."""
    net, _, train, meta, _, _ = problem()
    s = torch.randn(36, 8, dtype=torch.float64).requires_grad_()

    def training(network, u):
        return cross_entropy(u, train[1], (network[-1].weight @ s).T).mean()

    def virtual_loss(values):
        stepped = copy.deepcopy(net)
        u = stepped(train[0]).logits
        F.cross_entropy(u + (stepped[-1].weight @ values).T, train[1]).backward()
        with torch.no_grad():
            for w in stepped.parameters():
                w -= LR * w.grad
        return meta_losses(stepped(meta[0]).logits, meta[1], KIND).mean().item()

    def meta_loss(weights):
        return meta_losses(virtual_pass(net, weights, meta[0]).logits, meta[1], KIND).mean()

    weights, logits = dict(net.named_parameters()), net(train[0]).logits
    rates = [LR] * len(weights)
    found = hypergradient(net, weights, train[0], logits, lambda u: training(net, u), (s,), meta_loss, rates, mode=mode)
    assert found.depends_on_weights
    plain = torch.autograd.grad(training(net, net(train[0]).logits), tuple(weights.values()))
    for g, expected in zip(found.training, plain, strict=True):
        torch.testing.assert_close(g, expected)
    assert found.meta_loss.item() == pytest.approx(virtual_loss(s.detach()), rel=1e-12)
    generator = torch.Generator().manual_seed(1)
    for _ in range(6):
        direction, step = torch.randn(s.shape, generator=generator, dtype=torch.float64), 1e-5
        ends = [virtual_loss(s.detach() + sign * step * direction) for sign in (1, -1)]
        expected = (ends[0] - ends[1]) / (2 * step)
        assert abs(expected) > 1e-4
        assert (found.gradients[0] * direction).sum().item() == pytest.approx(expected, rel=CLOSE[mode])


@pytest.mark.parametrize("mode", MODES)
def test_a_constant_delta_moves_nothing(mode):
    """Every Omega that adds one number to all logits is a no-op, so its hypergradient is zero."""
    net, _, train, meta, _, _ = problem()
    shift = torch.ones(8, 1, dtype=torch.float64, requires_grad=True)

    def behind(u):
        return cross_entropy(u, train[1], shift.expand(8, 3)).mean()

    def meta_loss(weights):
        return cross_entropy(virtual_pass(net, weights, meta[0]).logits, meta[1]).mean()

    (found,), _ = solve(net, (shift,), train, behind, meta_loss, None, mode)
    assert found.abs().max() < 1e-15


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("mode", MODES)
def test_a_meta_loss_without_slope_moves_nothing(mode, dtype):
    """v = 0: no weight matters to the meta loss, and Omega enters it nowhere else."""
    net, omega, train, _, g_train, _ = problem()
    net, omega, images, given = net.to(dtype), omega.to(dtype), train[0].to(dtype), g_train.to(dtype)

    def behind(u):
        return cross_entropy(u, train[1], omega(given)).mean()

    def meta_loss(weights):
        return 0 * sum(w.sum() for w in weights.values()) + 1

    found, value = solve(net, tuple(omega.parameters()), (images, train[1]), behind, meta_loss, None, mode)
    assert value == 1
    assert all(torch.equal(gradient, torch.zeros_like(gradient)) for gradient in found)


@pytest.mark.parametrize("mode", MODES)
def test_nothing_is_changed_in_place(mode):
    net, omega, train, meta, g_train, _ = problem()
    logits = net(train[0]).logits
    before = {name: value.clone() for name, value in net.state_dict().items()}
    hypergradient(
        net, dict(net.named_parameters()), train[0], logits,
        lambda u: cross_entropy(u, train[1], omega(g_train)).mean(),
        tuple(omega.parameters()), lambda w: cross_entropy(virtual_pass(net, w, meta[0]).logits, meta[1]).mean(),
        [LR] * 6, mode=mode,
    )  # fmt: skip
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(w.grad is None for w in (*net.parameters(), *omega.parameters()))
    torch.autograd.grad(logits.sum(), net[0].weight)  # the graph of the training pass is still there


def test_virtual_passes_leave_the_network_alone():
    net, _, _, meta, _, _ = problem()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    moved = {name: value + 1 for name, value in net.named_parameters()}
    out = virtual_pass(net, moved, meta[0])
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    stepped = copy.deepcopy(net)
    stepped.load_state_dict({name: v.detach() for name, v in moved.items()}, strict=False)
    torch.testing.assert_close(out.logits, stepped(meta[0]).logits)
    assert not torch.equal(stepped[1].running_mean, before["1.running_mean"])  # a real pass would have moved them
