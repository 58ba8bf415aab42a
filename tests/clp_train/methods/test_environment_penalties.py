"""IRM, IB-IRM, V-REx and CORAL against loops over environments, and the derivative of a dummy scale by autograd."""

import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from clp_aug.contract.errors import UsageError
from clp_aug.contract.seeds import rng_for
from clp_train.algorithm.objective import objective
from clp_train.methods.environment_penalties import OPTIONS
from clp_train.methods.parts import divided
from clp_train.methods.parts.divided import parts_of
from clp_train.methods.parts.environments import alignment, even_weights, feature_variance, invariance, risk_variance
from tests.clp_train.builders import generator, method_of
from tests.clp_train.methods.shared_cases import assert_needs_groups, assert_refused
from tests.clp_train.methods.subpop_cases import of_groups, random_table, seen

ORACLES = ("irm", "ib-irm", "v-rex", "coral")
MANY = range(40)


def rows_of(env):
    """Return the rows of each environment that is there."""
    return [[i for i in range(len(env)) if env[i] == e] for e in sorted(set(env.tolist()))]


def risk(logits, label, rows):
    return sum(-logits[i].log_softmax(0)[label[i]] for i in rows) / len(rows)


def dummy_scale(logits, label, rows):
    """Return the derivative of the risk of the rows by a scale of the logits, at 1, with its graph."""
    scale = torch.ones((), dtype=logits.dtype, requires_grad=True)
    loss = F.cross_entropy(scale * logits[rows], label[rows])
    return torch.autograd.grad(loss, scale, create_graph=True)[0]


def slow_invariance(logits, label, env, halves):
    found = []
    for rows in rows_of(env):
        if not halves:
            found.append(dummy_scale(logits, label, rows) ** 2)
        elif len(rows) == 1:
            found.append(torch.zeros((), dtype=logits.dtype))
        else:
            found.append(dummy_scale(logits, label, rows[::2]) * dummy_scale(logits, label, rows[1::2]))
    return sum(found) / len(found)


def slow_variance(features, env):
    found = [features[rows].var(0).mean() for rows in rows_of(env) if len(rows) > 1]
    return sum(found) / len(found) if found else features.sum() * 0


def slow_covariance(features):
    mean, n = features.mean(0), len(features)
    return sum(torch.outer(row - mean, row - mean) for row in features) / (n - 1)


def slow_alignment(features, env):
    pairs = list(itertools.combinations([features[rows] for rows in rows_of(env)], 2))
    several = [(a, b) for a, b in pairs if len(a) > 1 and len(b) > 1]
    total = features.sum() * 0
    for a, b in pairs:
        total = total + (a.mean(0) - b.mean(0)).square().mean() / len(pairs)
    for a, b in several:
        total = total + (slow_covariance(a) - slow_covariance(b)).square().mean() / len(several)
    return total


def slow_risk_variance(logits, label, env):
    risks = [risk(logits, label, rows) for rows in rows_of(env)]
    mean = sum(risks) / len(risks)
    return sum((r - mean) ** 2 for r in risks) / len(risks)


def gradients(value, out):
    if not value.requires_grad:  # nothing was left to compare
        return [torch.zeros_like(w) for w in (out.logits, out.features)]
    found = torch.autograd.grad(value, (out.logits, out.features), retain_graph=True, allow_unused=True)
    return [torch.zeros_like(w) if g is None else g for w, g in zip((out.logits, out.features), found, strict=True)]


def assert_same_with_gradients(found, expected, out):
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    for a, b in zip(gradients(found, out), gradients(expected, out), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def whole(method, out, batch, view, steps):
    """Return the objective and penalty of a step after so many others."""
    for _ in range(steps + 1):
        method.observe(view)
    penalty = method.penalty(out, batch, None)
    return objective(out.logits, batch.label, method.terms(view)) + penalty


def mean_risk(out, batch, env):
    risks = [risk(out.logits, batch.label, rows) for rows in rows_of(env)]
    return sum(risks) / len(risks)


SLOW = {
    "irm": lambda out, y, env, o: slow_invariance(out.logits, y, env, o.estimate == "halves"),
    "ib-irm": lambda out, y, env, o: slow_invariance(out.logits, y, env, o.estimate == "halves"),
    "v-rex": lambda out, y, env, o: slow_risk_variance(out.logits, y, env),
}


@pytest.mark.parametrize("steps", [0, 6, 7])
@pytest.mark.parametrize("name", SLOW)
@pytest.mark.parametrize("seed", range(15))
def test_a_step_is_the_formula(seed, name, steps):
    table, places = random_table(seed)
    options = {"strength": [0.3, 20.0][seed % 2], "anneal": 7}
    if name != "v-rex":
        options["estimate"] = ["square", "halves"][seed % 3 == 0]
    if name == "ib-irm":
        options |= {"bottleneck": 3.0, "bottleneck_anneal": 6}
    method = method_of(name, table, options)
    out, batch, view = seen(table, seed)
    env = batch.group % places
    strength = options["strength"] if steps >= 7 else 1.0
    expected = mean_risk(out, batch, env) + strength * SLOW[name](out, batch.label, env, method.options)
    if name == "ib-irm" and steps >= 6:
        expected = expected + 3.0 * slow_variance(out.features, env)
    assert_same_with_gradients(whole(method, out, batch, view, steps), expected / max(1, strength), out)


@pytest.mark.parametrize("seed", range(15))
def test_coral_is_the_formula(seed):
    table, places = random_table(seed)
    out, batch, view = seen(table, seed)
    expected = risk(out.logits, batch.label, range(len(batch)))
    expected = expected + 0.7 * slow_alignment(out.features, batch.group % places)
    method = method_of("coral", table, {"strength": 0.7})
    assert_same_with_gradients(whole(method, out, batch, view, 0), expected, out)


@pytest.fixture(params=[True, False], ids=["known", "unknown"])
def looks(request, monkeypatch):
    """Whether the host may look at which environments are there."""
    monkeypatch.setattr(divided, "is_known", lambda part: request.param)


@pytest.mark.usefixtures("looks")
@pytest.mark.parametrize("seed", MANY)
def test_each_penalty_is_its_loop(seed):
    table, _ = random_table(seed)
    out, batch, _ = seen(table, seed, n=1 + seed % 17)
    env, y = batch.group * 7 % 5 + 3, batch.label  # some of 8, in no order
    parts = parts_of(env, 8)
    losses = F.cross_entropy(out.logits, y, reduction="none")
    for halves in (False, True):
        assert_same_with_gradients(
            invariance(out.logits, y, parts, halves), slow_invariance(out.logits, y, env, halves), out
        )
    assert_same_with_gradients(risk_variance(losses, parts), slow_risk_variance(out.logits, y, env), out)
    assert_same_with_gradients(feature_variance(out.features, parts), slow_variance(out.features, env), out)
    assert_same_with_gradients(alignment(out.features, parts), slow_alignment(out.features, env), out)


@pytest.mark.usefixtures("looks")
@pytest.mark.parametrize("seed", range(10))
def test_even_weights_make_a_mean_over_environments(seed):
    env = torch.randint(0, 4, (1 + seed * 3,), generator=generator(seed))
    values = torch.randn(len(env), dtype=torch.float64)
    weighted = (even_weights(parts_of(env, 4), torch.float64) * values).mean()
    rows = rows_of(env)
    assert weighted.item() == pytest.approx(sum(values[own].mean().item() for own in rows) / len(rows), rel=1e-12)


@pytest.mark.usefixtures("looks")
def test_by_hand():
    losses, env = torch.tensor([1.0, 3.0, 8.0]), parts_of(torch.tensor([0, 0, 1]), 2)
    assert risk_variance(losses, env).item() == 9  # (2 - 8)^2 / 4
    features = torch.tensor([[0.0, 0.0], [2.0, 4.0], [1.0, 1.0]])
    assert feature_variance(features, env).item() == pytest.approx((2 + 8) / 2)
    assert alignment(features, env).item() == pytest.approx((0 + 1) / 2)  # means (1, 2) and (1, 1); one covariance
    two = torch.cat([features, features[2:]])  # the second covariance is 0, the first [[2, 4], [4, 8]]
    assert alignment(two, parts_of(torch.tensor([0, 0, 1, 1]), 2)).item() == pytest.approx(0.5 + (4 + 16 + 16 + 64) / 4)
    logits = torch.tensor([[0.0, 0.0], [np.log(3), 0.0]])
    label = torch.tensor([1, 1])  # slopes 0 and 3/4 log 3
    slope = 0.75 * np.log(3)
    assert invariance(logits, label, parts_of(torch.tensor([0, 1]), 2)).item() == pytest.approx(slope**2 / 2)
    assert invariance(logits, label, parts_of(torch.tensor([4, 4]), 5)).item() == pytest.approx((slope / 2) ** 2)
    assert invariance(logits, label, parts_of(torch.tensor([4, 4]), 5), halves=True).item() == 0


@pytest.mark.usefixtures("looks")
@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize("group", [[0], [0, 0, 2], [1, 1, 2, 1, 1], [3, 0]], ids=str)
def test_small_and_lone_environments_are_finite(group, name):
    """One picture, one environment alone, an environment with one picture, two with one each."""
    table = of_groups([5, 5, 5, 5])
    method = method_of(name, table, {} if name == "coral" else {"anneal": 0})
    out, batch, view = seen(table, 3, group=group)
    value = whole(method, out, batch, view, 1)
    assert value.isfinite()
    assert all(g.isfinite().all() for g in gradients(value, out))
    if len({g % 2 for g in group}) == 1 and name in ("v-rex", "coral"):
        assert method.penalty(out, batch, None).item() == 0


@pytest.mark.parametrize("name", ORACLES)
def test_weak_at_first(name):
    """500 steps with 1, or none for the bottleneck, and the strength from then on."""
    if name == "coral":
        assert not hasattr(OPTIONS[name](), "anneal")
        return
    table, _ = random_table(1)
    method, (out, batch, view) = method_of(name, table, epochs=1000), seen(table, 1, n=12)
    penalties, weights = [], []
    for _ in range(502):
        method.observe(view)
        penalties.append(method.penalty(out, batch, None).item())
        weights.append(method.terms(view).weight.mean().item())
    strength = {"irm": 100, "ib-irm": 100, "v-rex": 10}[name]
    assert weights[0] == weights[499] == pytest.approx(1)
    assert weights[500] == weights[501] == pytest.approx(1 / strength)
    assert penalties[0] == penalties[499] > 0
    rest = feature_variance(out.features, parts_of(batch.group % 3, 3)).item() if name == "ib-irm" else 0
    assert penalties[500] == penalties[501] == pytest.approx(penalties[0] + rest)  # a strength over itself


@pytest.mark.parametrize("name", ["irm", "ib-irm", "v-rex"])
@pytest.mark.parametrize(
    ("epochs", "batch_size", "options", "early"),
    [(4, 16, {}, 196), (300, 16, {}, 500), (10, 16, {}, 490), (1, 2000, {}, 0), (4, 16, {"anneal": 600}, 600)],
)
def test_a_short_run_is_weak_for_half_of_its_steps(name, epochs, batch_size, options, early):
    """1,560 pictures are 98 steps an epoch at a batch of 16; what is given counts as it is."""
    table = of_groups([1140, 50, 18, 352])
    settings = method_of(name, table, options, epochs=epochs, batch_size=batch_size).options
    assert settings.anneal == early
    if name == "ib-irm":
        assert settings.bottleneck_anneal == (196 if options else early)


@pytest.mark.parametrize("name", ["irm", "ib-irm", "v-rex"])
def test_the_steps_done_survive(name):
    table, _ = random_table(2)
    method, other = (method_of(name, table, {"anneal": 3}) for _ in range(2))
    out, batch, view = seen(table, 2, n=9)
    for _ in range(3):
        method.observe(view)
    other.load_state_dict(method.state_dict())
    for _ in range(2):  # also: a state that was handed over is not shared
        for one in (method, other):
            one.observe(view)
    assert torch.equal(method.penalty(out, batch, None), other.penalty(out, batch, None))
    assert torch.equal(method.terms(view).weight, other.terms(view).weight)
    assert other.step.item() == 5


@pytest.mark.parametrize(("name", "places"), [("irm", True), ("ib-irm", True), ("v-rex", True), ("coral", False)])
def test_what_comes_equally_often(name, places):
    table = of_groups([120, 6, 2, 36])
    method = method_of(name, table)
    batches = method.batches(0, 16, rng_for(0, 0, "test"))
    assert sum(map(len, batches)) == len(table.label)
    part = (table.group % 2 if places else table.group).numpy()
    for rows in batches:
        counts = np.bincount(part[rows], minlength=part.max() + 1)
        assert counts.max() - counts.min() <= 1
    assert method_of(name, table, {"batches": "natural"}).batches(0, 16, rng_for(0, 0, "test")) is None


@pytest.mark.parametrize("name", ORACLES)
def test_refusals(name):
    assert_needs_groups(name)
    assert_refused(name, "strength = -1.0: expected a number >= 0", strength=-1.0)
    evenly = "group, environment, natural" if name == "coral" else "environment, group, natural"
    assert_refused(name, f"batches = x: expected one of {evenly}", batches="x")
    if name != "coral":
        assert_refused(name, "anneal = -1: expected a whole number >= 0", anneal=-1)
    if "irm" in name:
        assert_refused(name, "estimate = x: expected one of square, halves", estimate="x")
    if name == "ib-irm":
        assert_refused(name, "bottleneck = nan: expected a number >= 0", bottleneck=float("nan"))
        assert_refused(name, "bottleneck_anneal = -2: expected a whole number >= 0", bottleneck_anneal=-2)
    if name in ("coral", "ib-irm"):
        with pytest.raises(UsageError) as error:
            method_of(name, of_groups([2, 2, 2, 2]), trainable="head")
        assert str(error.value) == (
            f"trainable = head: method {name} acts on features that learn; take trainable = all"
        )
