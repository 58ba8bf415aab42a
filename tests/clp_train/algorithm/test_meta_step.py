"""META STEP in its two forms, against one graph through everything and against finite differences, in float64."""

import dataclasses

import pytest
import torch

from clp_aug.common.settings import about, fields_of
from clp_train.algorithm.losses import cross_entropy, meta_losses
from clp_train.algorithm.meta_step import META_STEPS, BilevelProblem, ExactMetaStep, LaggedMetaStep, MetaStep
from clp_train.algorithm.passes import features_of, logits_of, pass_taken, virtual_pass
from clp_train.algorithm.settings import MetaStepSettings
from clp_train.algorithm.slopes import SLOPES
from clp_train.algorithm.virtual_step import sgd_moves
from tests.clp_train.algorithm.small_cases import KIND, problem
from tests.clp_train.builders import generator

MODES = (*SLOPES, "reference")
HEAD, BODY_RATE, HEAD_RATE = ("4.weight", "4.bias"), 0.3, 0.1
CLOSE = {"forward": 1e-9, "reference": 1e-9, "central": 1e-5, "one-sided": 1e-3}  # of the largest number of a gradient
ACTS = {  # where Omega, s, acts: how u is read, and the loss behind u
    "on the logits": (logits_of, lambda net, s, u, y: cross_entropy(u, y, s).mean()),
    "on the features": (features_of, lambda net, s, u, y: cross_entropy(net[-1](s.sigmoid() * u), y).mean()),
    "by the head too": (logits_of, lambda net, s, u, y: cross_entropy(u, y, s + net[-1].weight.sum(1)).mean()),
}
LAGGED = ("on the logits", "by the head too")  # the head as it was is gone after the step, so methods refuse the other


def bilevel(acts="on the logits", scope=None, penalised=True, drifted=False, mode="forward"):
    """Return what a step of the small classifier learns from, with two learning rates."""
    net, _, (images, label), (meta_images, meta_label), _, _ = problem()
    taken = pass_taken(net)
    g, out, (read, behind) = generator(1), net(images), ACTS[acts]
    u = read(out)
    s = torch.randn(u.shape, generator=g, dtype=torch.float64).requires_grad_()
    weights = dict(net.named_parameters())
    scoped = {name: w for name, w in weights.items() if scope is None or name in scope}
    drift = [0.1 * torch.randn(w.shape, generator=g, dtype=torch.float64) for w in scoped.values()]

    def meta_loss(moved):
        logits = virtual_pass(net, moved, meta_images).logits
        return meta_losses(logits, meta_label, KIND).mean() + 0.01 * s.square().mean()

    return BilevelProblem(
        net, images, u, lambda u: behind(net, s, u, label), 0.2 * out.logits.square().mean() if penalised else None,
        weights, scoped, sgd_moves([rate_of(name) for name in scoped], drift if drifted else None), (s,), meta_loss,
        mode, read, taken=taken,
    )  # fmt: skip


def rate_of(name):
    return HEAD_RATE if name in HEAD else BODY_RATE


def total(p):
    """Return L_train + penalty."""
    return p.loss(p.u) if p.penalty is None else p.loss(p.u) + p.penalty


def plain_gradient(p):
    """Return the gradient of L_train + penalty by weight; the graph is kept."""
    return torch.autograd.grad(total(p), tuple(p.weights.values()), retain_graph=True)


def double_backward(p):
    """Return meta loss and gradient at the virtual weights the obvious way: one graph through eqs. (8) and (9)."""
    gradients = torch.autograd.grad(total(p), tuple(p.scope.values()), create_graph=True)
    loss = p.meta_loss(dict(zip(p.scope, p.moves(p.scope, gradients).weights, strict=True)))
    return loss, torch.autograd.grad(loss, p.learned, retain_graph=True)


def take(p, gradients):
    """Take the real step, in place."""
    with torch.no_grad():
        for (name, w), g in zip(p.weights.items(), gradients, strict=True):
            w -= rate_of(name) * g


def assert_close(found, expected, mode):
    scale = max(g.abs().max().item() for g in expected)
    assert scale > 1e-5  # the comparison is of something
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=CLOSE[mode] * scale)


def test_the_registry_is_what_the_settings_name():
    assert tuple(META_STEPS) == about(fields_of(MetaStepSettings)["meta_step"]).choices


@pytest.mark.parametrize("penalised", [False, True])
def test_a_step_without_a_meta_step_is_the_plain_gradient(penalised):
    p = bilevel(penalised=penalised)
    step = MetaStep(p)
    assert step.before() is None
    plain = plain_gradient(p)
    found = step.training_gradients(p.loss(p.u))
    assert step.after() is None
    assert step.meta_loss is None
    for g, expected in zip(found, plain, strict=True):
        torch.testing.assert_close(g, expected, rtol=1e-12, atol=1e-15)


def test_the_real_step_spends_the_graph():
    """What a pass keeps for its gradients is let go of, layer by layer, while they are taken."""
    p = bilevel()
    MetaStep(p).training_gradients(p.loss(p.u))
    with pytest.raises(RuntimeError, match="a second time"):
        torch.autograd.grad(p.u.sum(), tuple(p.weights.values()))


def test_the_plain_gradient_is_of_weights_outside_the_scope_too():
    p = bilevel(scope=HEAD)
    found = MetaStep(p).training_gradients(p.loss(p.u))
    assert len(found) == len(p.weights) > len(p.scope)
    assert all(g.abs().max() > 0 for g in found[2:])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("acts", ACTS)
@pytest.mark.parametrize("penalised", [False, True], ids=["no penalty", "penalty"])
@pytest.mark.parametrize("drifted", [False, True], ids=["plain", "drift"])
@pytest.mark.parametrize("scope", [None, HEAD], ids=["all weights", "the head alone"])
def test_exact_is_the_double_backward(mode, acts, penalised, drifted, scope):
    p = bilevel(acts, scope, penalised, drifted, mode)
    loss, expected = double_backward(p)
    step = ExactMetaStep(p)
    assert_close(step.before(), expected, mode)
    assert step.meta_loss.item() == pytest.approx(loss.item(), rel=1e-10)
    assert not step.meta_loss.requires_grad
    assert step.after() is None


class Counted(torch.autograd.Function):
    """The identity, which counts how often somebody goes back through it."""

    @staticmethod
    def forward(ctx, value, calls):
        ctx.calls = calls
        return value.clone()

    @staticmethod
    def backward(ctx, gradient):
        ctx.calls.append(1)
        return gradient, None


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("drifted", [False, True], ids=["plain", "drift"])
@pytest.mark.parametrize(
    ("acts", "scope", "times"),
    [
        ("on the logits", None, 1),
        ("on the logits", HEAD, 2),
        ("by the head too", None, 2),
        ("on the features", None, 2),
    ],
)
def test_the_real_step_shares_the_penaltys_gradient_where_it_can(mode, drifted, acts, scope, times):
    """With the Omega that has moved it is the plain gradient, whether the penalty was gone through again or not."""
    p, calls = bilevel(acts, scope, drifted=drifted, mode=mode), []
    of_penalty = torch.autograd.grad(p.penalty, tuple(p.weights.values()), retain_graph=True)
    p = dataclasses.replace(p, penalty=Counted.apply(p.penalty, calls))
    step = ExactMetaStep(p)
    (gradient,) = step.before()
    assert (p.penalty.grad_fn is None) == (times == 1), "the graph of what is not asked for again is gone already"
    with torch.no_grad():
        p.learned[0].sub_(5 * gradient / gradient.norm())
    loss = p.loss(p.u)
    of_loss = torch.autograd.grad(loss, tuple(p.weights.values()), retain_graph=True)
    found = step.training_gradients(loss)
    assert len(calls) == times
    for g, a, b in zip(found, of_loss, of_penalty, strict=True):
        torch.testing.assert_close(g, a + b, rtol=1e-9, atol=1e-13)


def test_without_a_penalty_there_is_nothing_to_share():
    p = bilevel(penalised=False)
    step = ExactMetaStep(p)
    step.before()
    plain = plain_gradient(p)
    pairs = zip(step.training_gradients(p.loss(p.u)), plain, strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("mode", SLOPES)
@pytest.mark.parametrize("acts", LAGGED)
@pytest.mark.parametrize("penalised", [False, True], ids=["no penalty", "penalty"])
def test_lagged_is_the_gradient_at_the_weights_after_the_real_step(mode, acts, penalised):
    """With plain SGD as the real step these are the virtual weights, so one graph through both steps tells it."""
    p = bilevel(acts, penalised=penalised, mode=mode)
    loss, expected = double_backward(p)
    step = LaggedMetaStep(p)
    assert step.before() is None
    assert step.meta_loss is None
    take(p, step.training_gradients(p.loss(p.u)))
    assert_close(step.after(), expected, mode)
    assert step.meta_loss.item() == pytest.approx(loss.item(), rel=1e-10)


@pytest.mark.parametrize("acts", LAGGED)
def test_lagged_by_finite_differences(acts):
    """Of the meta loss after a real step with another Omega, each time from the start."""

    def after_a_step(change):
        p = bilevel(acts)
        with torch.no_grad():
            p.learned[0].add_(change)
        take(p, MetaStep(p).training_gradients(p.loss(p.u)))
        return p.meta_loss(p.scope).item()

    p = bilevel(acts)
    step = LaggedMetaStep(p)
    step.before()
    take(p, step.training_gradients(p.loss(p.u)))
    (found,) = step.after()
    g = generator(2)
    for _ in range(4):
        direction, h = torch.randn(found.shape, generator=g, dtype=torch.float64), 1e-5
        expected = (after_a_step(h * direction) - after_a_step(-h * direction)) / (2 * h)
        assert abs(expected) > 1e-5
        assert (found * direction).sum().item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("mode", SLOPES)
@pytest.mark.parametrize("acts", LAGGED)
def test_lagged_within_a_scope(mode, acts):
    """The step moves all weights; Omega's gradient is along v of the scope at the new ones, its mix at the old ones."""
    p = bilevel(acts, HEAD, mode=mode)
    gradients = torch.autograd.grad(p.loss(p.u), tuple(p.scope.values()), create_graph=True)
    moves = zip(p.weights.items(), plain_gradient(p), strict=True)
    new = {name: (w - rate_of(name) * g).detach().requires_grad_() for (name, w), g in moves}
    v = torch.autograd.grad(p.meta_loss(new), [new[name] for name in p.scope])
    (direct,) = torch.autograd.grad(p.meta_loss(new), p.learned)
    (mixed,) = torch.autograd.grad(
        gradients, p.learned, [rate_of(name) * part for name, part in zip(p.scope, v, strict=True)]
    )
    step = LaggedMetaStep(p)
    step.before()
    take(p, step.training_gradients(p.loss(p.u)))
    assert mixed.abs().max() > 1e-6
    assert_close(step.after(), [direct - mixed], mode)


def test_lagged_takes_the_plain_gradient():
    p = bilevel()
    step = LaggedMetaStep(p)
    step.before()
    plain = plain_gradient(p)
    pairs = zip(step.training_gradients(p.loss(p.u)), plain, strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
