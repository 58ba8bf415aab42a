"""The one objective against the formula written out picture by picture, and each method's slots."""

import math

import pytest
import torch
from torch.nn import functional as F

from clp_aug.contract.errors import SettingError, UsageError
from clp_train.algorithm.losses import cross_entropy
from clp_train.algorithm.objective import Terms, objective, sample_losses
from clp_train.algorithm.perturbation import Omega
from clp_train.algorithm.saliency import saliency_weight
from tests.clp_train.builders import generator, method_of, table_of, view_of


def by_hand(logits, label, delta, weight, gamma, scale, normaliser):
    total, divisor = 0.0, 0.0
    for i, y in enumerate(label.tolist()):
        z = [scale * (logits[i, c].item() + (delta[i, c].item() if delta is not None else 0)) for c in range(3)]
        p = math.exp(z[y]) / sum(math.exp(v) for v in z)
        w = weight[i].item() if weight is not None else 1.0
        total += w * (1 - p) ** gamma * -math.log(p)
        divisor += w if normaliser == "sum_w" and weight is not None else 1.0
    return total / divisor


@pytest.mark.parametrize("normaliser", ["n", "sum_w"])
@pytest.mark.parametrize("scale", [1.0, 3.0])
@pytest.mark.parametrize("gamma", [0, 2])
@pytest.mark.parametrize("filled", [(False, False), (True, False), (False, True), (True, True)])
def test_the_formula(filled, gamma, scale, normaliser):
    g = generator()
    logits, label = torch.randn(7, 3, generator=g, dtype=torch.float64), torch.arange(7) % 3
    delta = torch.randn(7, 3, generator=g, dtype=torch.float64) if filled[0] else None
    weight = torch.rand(7, generator=g, dtype=torch.float64) if filled[1] else None
    focal = (lambda p, y: (1 - p) ** gamma) if gamma else None
    terms = Terms(delta, weight, focal, scale, normaliser)
    expected = by_hand(logits, label, delta, weight, gamma, scale, normaliser)
    assert objective(logits, label, terms).item() == pytest.approx(expected, rel=1e-12)


def test_the_defaults_are_plain_cross_entropy():
    logits, label = torch.randn(5, 4), torch.tensor([0, 1, 2, 3, 0])
    assert torch.equal(sample_losses(logits, label, Terms()), cross_entropy(logits, label))
    torch.testing.assert_close(objective(logits, label, Terms()), F.cross_entropy(logits, label))


def test_an_unknown_normaliser_is_refused():
    with pytest.raises(UsageError, match="unknown normaliser 'mean': choose one of n, sum_w"):
        Terms(normaliser="mean")


GROUPS = (torch.arange(100) % 4 == 3).long()  # 75 and 25
TABLE = table_of([0] * 60 + [1] * 30 + [2] * 10, GROUPS, groups=2)


ROWS = {  # method -> what its first batch's terms are
    "erm": lambda terms: terms == Terms(),
    "clp": lambda terms: torch.equal(terms.delta, torch.zeros(6, 3)),
    "meta-lp": lambda terms: torch.equal(terms.delta, torch.zeros(6, 3)),
    "logit-adjust": lambda terms: torch.allclose(terms.delta[4], torch.tensor([0.6, 0.3, 0.1]).log()),
    "mwn": lambda terms: terms.delta is None and terms.weight.shape == (6,) and 0 < terms.weight.min() < 1,
    "group-weight": lambda terms: terms.weight.tolist() == pytest.approx([100 / (2 * 75), 100 / (2 * 25)] * 3),
    "group-sample": lambda terms: terms == Terms(),
    "meta-only": lambda terms: terms == Terms(),
    "dfr": lambda terms: terms == Terms(),
}


@pytest.mark.parametrize("name", ROWS)
def test_first_terms(name):
    method, view = method_of(name, TABLE), view_of()
    method.observe(view)
    assert ROWS[name](method.terms(view))


@pytest.mark.parametrize("name", ROWS)
def test_all_state_survives(name):
    """A method that is saved, built anew and loaded goes on as if nothing had happened."""
    method, other = method_of(name, TABLE), method_of(name, TABLE, seed=9)

    def work(one, seed):
        view = view_of(seed=seed)
        one.observe(view)
        if one.learned:
            terms = one.terms(view)
            value = objective(view.logits * 3, view.label, terms)
            one.update(torch.autograd.grad(value, one.learned, materialize_grads=True))
        return one.terms(view)

    for seed in range(3):
        work(method, seed)
    other.load_state_dict({name: value.clone() for name, value in method.state_dict().items()})
    for seed in range(3, 6):
        a, b = work(method, seed), work(other, seed)
        for field in ("delta", "weight"):
            x, y = getattr(a, field), getattr(b, field)
            assert (x is None) == (y is None)
            assert x is None or torch.equal(x, y)
    if method.learned:
        assert any(value.abs().sum() > 0 for name, value in method.state_dict().items() if "exp_avg" in name)


def test_mwn_is_by_hand():
    method, view = method_of("mwn", TABLE), view_of()
    loss = F.cross_entropy(view.logits, view.label, reduction="none")
    net = method.network
    hidden = (loss[:, None] * net.hidden.weight[:, 0] + net.hidden.bias).clamp(min=0)
    expected = torch.sigmoid(hidden @ net.last.weight[0] + net.last.bias)
    torch.testing.assert_close(method.terms(view).weight, expected)
    assert method.terms(view).normaliser == "n"
    long_tail = method_of("mwn", None, {"normaliser": "sum_w"}).terms(view)
    value = objective(view.logits, view.label, long_tail)
    torch.testing.assert_close(value, (expected * loss).sum() / expected.sum())
    with pytest.raises(SettingError, match="normaliser = mean: expected one of n, sum_w"):
        method_of("mwn", None, {"normaliser": "mean"})


@pytest.mark.parametrize(("form", "bound"), [("full", None), ("bounded", 3.0), ("true-class", 3.0)])
def test_forms_of_omega(form, bound):
    omega = Omega(torch.tensor([3.0, 2.0, 1.0]), form, "zero", generator())
    g, label = torch.randn(6, 10), torch.arange(6) % 3
    assert torch.equal(omega(g, label), torch.zeros(6, 3))
    torch.nn.init.normal_(omega.last.weight, std=50, generator=generator(1))
    delta = omega(g, label)
    assert delta.shape == (6, 3)
    if bound is not None:
        assert delta.abs().max() <= bound
    if form == "true-class":
        others = delta.scatter(1, label[:, None], 0.0)
        assert torch.equal(others, torch.zeros(6, 3))
        assert (delta.gather(1, label[:, None]) != 0).all()


def test_log_prior_start_is_logit_adjustment():
    counts = torch.tensor([60.0, 30.0, 10.0])
    omega = Omega(counts, "full", "log-prior", generator())
    torch.testing.assert_close(omega(torch.randn(4, 10), torch.zeros(4, dtype=int))[2], (counts / 100).log())


def test_relative_saliency_is_as_large_as_its_share_of_the_cross_entropy():
    logits, label = torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1])
    terms = torch.rand(5) * 1e-6
    weight = saliency_weight(0.3, True, terms, logits, label)
    assert (weight * terms.mean()).item() == pytest.approx(0.3 * F.cross_entropy(logits, label).item(), rel=1e-5)
    assert saliency_weight(0.3, False, terms, logits, label) == 0.3
    assert saliency_weight(0.3, True, torch.zeros(5), logits, label) == 0.0
