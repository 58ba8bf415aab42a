"""What is added to logits because of how many pictures a class has, against the formulas."""

import math
from dataclasses import replace

import pytest
import torch

from clp_train.algorithm.losses import cross_entropy
from clp_train.methods.lpl import Options, class_perturbations, moves_of, signs_and_steps
from clp_train.models.parts import Output
from tests.clp_train.builders import config_of, generator, load, train
from tests.clp_train.methods import longtail_cases as cases
from tests.clp_train.methods.shared_cases import assert_refused, assert_refuses_empty_classes

ORACLES = ("logit-adjust", "la-posthoc", "balanced-softmax", "lpl")


@pytest.mark.parametrize("tau", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("seed", range(6))
def test_the_loss_picture_by_picture(seed, tau):
    counts = cases.counts_of(seed)
    view = cases.lacking_view(seed, len(counts))
    losses, mean = cases.losses_of(cases.of_counts("logit-adjust", counts, tau=tau), view)
    expected = []
    for z, y in zip(view.logits.tolist(), view.label.tolist(), strict=True):
        shares = [math.exp(v) * (n / sum(counts)) ** tau for v, n in zip(z, counts, strict=True)]
        expected.append(-math.log(shares[y] / math.fsum(shares)))
    assert losses.tolist() == pytest.approx(expected, rel=1e-9)
    assert mean.item() == pytest.approx(math.fsum(expected) / len(expected), rel=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_balanced_softmax_weighs_by_counts_and_is_adjustment_with_tau_1(seed):
    counts = cases.counts_of(seed)
    view = cases.lacking_view(seed, len(counts))
    losses, _ = cases.losses_of(cases.of_counts("balanced-softmax", counts), view)
    for i, (z, y) in enumerate(zip(view.logits.tolist(), view.label.tolist(), strict=True)):
        shares = [n * math.exp(v) for v, n in zip(z, counts, strict=True)]
        assert losses[i].item() == pytest.approx(-math.log(shares[y] / math.fsum(shares)), rel=1e-9)
    assert torch.equal(losses, cases.losses_of(cases.of_counts("logit-adjust", counts), view)[0])


@pytest.mark.parametrize("counts", [[5, 5, 5], [9, 1, 0]])
def test_tau_0_is_cross_entropy_and_so_are_classes_of_one_size(counts):
    view = cases.lacking_view(2, 3)
    own = {"tau": 0.0} if 0 in counts else {}
    losses, _ = cases.losses_of(cases.of_counts("logit-adjust", counts, **own), view)
    torch.testing.assert_close(losses, cross_entropy(view.logits, view.label))


def test_a_class_without_pictures_is_out_of_the_sum():
    view = cases.lacking_view(2, 3)._replace(label=torch.zeros(4, dtype=torch.int64), logits=torch.randn(4, 3))
    losses, _ = cases.losses_of(cases.of_counts("logit-adjust", [6, 2, 0]), view)
    expected = cross_entropy(view.logits[:, :2] + torch.tensor([6.0, 2.0]).log(), view.label)
    torch.testing.assert_close(losses, expected)


@pytest.mark.parametrize("tau", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("seed", range(6))
def test_post_hoc_judges_by_what_a_uniform_prior_would_have_said(seed, tau):
    counts = cases.counts_of(seed)
    view = cases.lacking_view(seed, len(counts))
    method = cases.of_counts("la-posthoc", counts, tau=tau)
    assert torch.equal(cases.losses_of(method, view)[0], cross_entropy(view.logits, view.label))  # plain in training
    judged = method.predict(Output(view.features, view.logits), None).softmax(1)
    for i, z in enumerate(view.logits.tolist()):
        odds = [math.exp(v) / (n / sum(counts)) ** tau for v, n in zip(z, counts, strict=True)]
        assert judged[i].tolist() == pytest.approx([o / math.fsum(odds) for o in odds], rel=1e-9)


def test_post_hoc_undoes_the_adjustment_that_the_loss_makes():
    counts = [30, 5, 1]
    view = cases.lacking_view(1, 3)
    within = cases.of_counts("logit-adjust", counts, tau=0.7).terms(view).delta
    shifted = Output(view.features, view.logits + within)
    torch.testing.assert_close(cases.of_counts("la-posthoc", counts, tau=0.7).predict(shifted, None), view.logits)


def test_a_post_hoc_run_is_that_of_cross_entropy_judged_otherwise(demo_shard):
    def run(method, **own):
        config = config_of(meta=demo_shard, method=method, epochs=2, batch_size=40, limit=30, options=own)
        loaded = load(config)
        few = loaded.train.take(torch.arange(30)[(loaded.train.label == 0) | (torch.arange(30) % 5 == 0)])
        return train(config, replace(loaded, train=few))

    plain, adjusted = run("erm"), run("la-posthoc", tau=20.0)
    for name, value in plain.last.state.items():
        assert torch.equal(value, adjusted.last.state[name])
    assert adjusted.last.metrics["test"].per_class[1] == 1.0  # so large a tau leaves the rare class alone
    assert plain.last.metrics["test"].per_class[1] < 1.0
    assert run("la-posthoc", tau=0.0).last.metrics == plain.last.metrics


def perturbation_by_autograd(logits, c, sign, steps, rate):
    """One class of LPL: steps of fixed length up (sign 1) or down its mean loss, by autograd. logits: its own."""
    delta = torch.zeros(logits.shape[1], dtype=torch.float64)
    for _ in range(steps):
        at = delta.clone().requires_grad_()
        loss = torch.stack([-(z + at).log_softmax(0)[c] for z in logits]).mean()
        (slope,) = torch.autograd.grad(loss, at)
        delta = delta + sign * rate * slope / math.sqrt(math.fsum(v * v for v in slope.tolist()))
    return delta


@pytest.mark.parametrize("seed", range(10))
def test_lpl_class_by_class(seed):
    counts = cases.counts_of(seed)
    view = cases.lacking_view(seed, len(counts))
    own = {"head": 0.5, "steps": 3 + seed % 5, "head_steps": 0.7, "rate": 0.2}
    delta = cases.of_counts("lpl", counts, **own).terms(view).delta
    ranked = sorted(range(len(counts)), key=lambda c: -counts[c])
    last = counts[ranked[round(0.5 * len(counts)) - 1]]
    assert not delta.requires_grad
    for i, y in enumerate(view.label.tolist()):
        head = counts[y] >= last
        share = 0.7 * own["steps"] * counts[y] / max(counts) if head else own["steps"] * min(counts) / counts[y]
        group = view.logits[view.label == y]
        expected = perturbation_by_autograd(group, y, -1 if head else 1, math.floor(share + 0.5), 0.2)
        torch.testing.assert_close(delta[i], expected)


@pytest.mark.parametrize("seed", range(10))
def test_lpl_with_the_priors_is_lpl_of_adjusted_logits(seed):
    counts = cases.counts_of(seed)
    view = cases.lacking_view(seed, len(counts))
    own = {"head": 0.5, "steps": 3 + seed % 5, "head_steps": 0.7, "rate": 0.2}
    prior = torch.tensor([math.log(n / sum(counts)) for n in counts], dtype=torch.float64)
    plain, adjusted = cases.of_counts("lpl", counts, **own), cases.of_counts("lpl", counts, prior=True, **own)
    expected = prior + plain.terms(view._replace(logits=view.logits + prior)).delta
    torch.testing.assert_close(adjusted.terms(view).delta, expected)
    none = cases.of_counts("lpl", counts, prior=True, steps=0)
    losses = cases.losses_of(none, view)[0]
    torch.testing.assert_close(losses, cases.losses_of(cases.of_counts("logit-adjust", counts), view)[0])
    assert not torch.allclose(adjusted.terms(view).delta, prior + plain.terms(view).delta) or len(counts) < 3


@pytest.mark.parametrize("seed", range(10))
def test_lpl_raises_the_loss_of_tails_and_lowers_that_of_heads(seed):
    counts = [400, 200, 2, 1]
    view = cases.lacking_view(seed, 5, n=20)._replace(label=torch.arange(20) % 4)
    view = view._replace(logits=view.logits[:, :4])
    losses, _ = cases.losses_of(cases.of_counts("lpl", counts, head=0.5, rate=0.02), view)
    change = losses - cross_entropy(view.logits, view.label)
    for c in range(4):
        assert change[view.label == c].mean() * (1 if c >= 2 else -1) > 1e-3


def test_steps_of_lpl():
    options = Options()
    signs, steps = signs_and_steps(torch.tensor([5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50.0]), options)
    assert signs.tolist() == [-1] * 4 + [1] * 6
    assert steps.tolist() == [6, 4, 2, 1, 1, 1, 2, 4, 6, 10]
    rare = signs_and_steps(torch.tensor([1000.0, 10.0, 1.0]), Options(head=0.34, steps=3))
    assert [part.tolist() for part in rare] == [[-1, 1, 1], [2, 0, 3]]  # 0.3 of a step is none
    tied = signs_and_steps(torch.tensor([7.0, 9.0, 7.0, 2.0]), Options(head=0.5))
    assert tied[0].tolist() == [-1, -1, -1, 1]
    assert signs_and_steps(torch.tensor([3.0, 1.0]), Options(head=0.0))[0].tolist() == [1, 1]


def test_lpl_at_its_edges():
    zeros, six = torch.zeros(3, dtype=torch.int64), torch.tensor([6, 6, 6])
    logits, label = torch.randn(5, 3, generator=generator(0)), torch.tensor([2, 2, 0, 0, 2])
    signs = torch.tensor([-1.0, 1.0, 1.0])
    assert torch.equal(class_perturbations(logits, label, moves_of(signs, zeros, 0.1)), torch.zeros(3, 3))
    delta = class_perturbations(logits, label, moves_of(signs, six, 0.1))
    assert torch.equal(delta[1], torch.zeros(3))  # not in the batch
    assert (delta[[0, 2]].norm(dim=1) > 0.1).all()
    sure = torch.tensor([[300.0, 0.0, 0.0]])
    assert torch.equal(class_perturbations(sure, torch.tensor([0]), moves_of(-signs, six, 0.1)), torch.zeros(3, 3))


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize("seed", range(5))
def test_names_of_classes_do_not_matter(seed, name):
    cases.assert_names_of_classes_do_not_matter(name, seed)
    if name == "lpl":
        cases.assert_names_of_classes_do_not_matter(name, seed, prior=True)


def test_what_is_refused():
    for name in ("la-posthoc", "lpl"):
        assert_refuses_empty_classes(name)
    assert_refused("lpl", "head = 1.2: expected a number from 0 to 1", head=1.2)
    for setting in ("head_steps", "rate"):
        assert_refused("lpl", f"{setting} = -1.0: expected a number >= 0", **{setting: -1})
        assert_refused("lpl", f"{setting} = nan: expected a number >= 0", **{setting: math.nan})
    assert_refused("lpl", "steps = -1: expected a whole number >= 0", steps=-1)
    assert_refused("lpl", "steps = nan: expected a whole number", steps=math.nan)
    for name in ("logit-adjust", "la-posthoc"):
        for tau in (-1.0, math.nan, math.inf):
            assert_refused(name, f"tau = {tau}: expected a number >= 0", tau=tau)
    users = "logit-adjust, la-posthoc and background-adjust"
    message = f"method balanced-softmax does not use it; it is a setting of {users}"
    assert_refused("balanced-softmax", f"tau = 1.0: {message}", tau=1.0)
