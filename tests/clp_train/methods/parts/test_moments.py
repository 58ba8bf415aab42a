"""Streamed moments against those of all features at once; ISDA's delta against its triple loop and its own meaning."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from clp_aug.contract.errors import UsageError
from clp_train.methods.parts import divided
from clp_train.methods.parts.moments import Moments, isda_delta
from tests.clp_train.builders import generator

SEEDS = range(8)


def problem(seed, form, dtype=torch.float64):
    """Return a head's weights, features, labels that lack a class, and covariances; sizes random, from 1 up."""
    g = generator(seed)
    n, classes, width = (int(torch.randint(low, high, (), generator=g)) for low, high in ((1, 30), (2, 6), (1, 7)))
    weight = torch.randn(classes, width, generator=g, dtype=dtype)
    features = 3 + torch.randn(n, width, generator=g, dtype=dtype)
    root = torch.randn(classes, width, width, generator=g, dtype=dtype)
    spread = root @ root.mT if form == "full" else root[:, 0].square()
    return weight, features, torch.randint(classes - 1, (n,), generator=g), spread


@pytest.mark.parametrize("is_known", [True, False], ids=["known", "unknown"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("form", ["full", "diag"])
@pytest.mark.parametrize("seed", SEEDS)
def test_streamed_equals_at_once(seed, form, dtype, is_known, monkeypatch):
    """Whether the host may look at which classes are in a batch or not."""
    monkeypatch.setattr(divided, "is_known", lambda part: is_known)
    weight, features, label, _ = problem(seed, form, dtype)
    moments = Moments.start(weight, form)
    for rows in torch.arange(len(label)).split(1 + seed):
        moments.update(features[rows].requires_grad_(), label[rows])
    assert moments.mean.dtype == dtype
    assert not moments.covariance.requires_grad
    close = {"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 1e-10, "atol": 1e-10}
    for c in range(len(weight)):
        own = features[label == c].double().numpy()
        assert moments.count[c] == len(own)
        mean = own.mean(0) if len(own) else np.zeros(weight.shape[1])
        full = np.atleast_2d(np.cov(own.T, bias=True)) if len(own) else np.zeros((weight.shape[1],) * 2)
        expected = full if form == "full" else full.diagonal()
        np.testing.assert_allclose(moments.mean[c].numpy(), mean, **close)
        np.testing.assert_allclose(moments.covariance[c].numpy(), expected, **close)


def test_one_picture_of_a_class_spreads_nothing():
    moments = Moments.start(torch.zeros(2, 3), "full")
    moments.update(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([1]))
    assert moments.mean.tolist() == [[0, 0, 0], [1, 2, 3]]
    assert not moments.covariance.any()


def test_a_narrow_type_is_widened():
    assert Moments.start(torch.zeros(2, 3, dtype=torch.bfloat16), "diag").covariance.dtype == torch.float32


def test_covariances_that_do_not_fit_are_refused():
    wide = torch.empty(1000, 2048)
    with pytest.raises(UsageError) as error:
        Moments.start(wide, "full")
    assert str(error.value) == (
        "covariance = full: 1000 classes and 2048 features take 16.8 GB, expected at most 1 GB; take covariance = diag"
    )
    assert Moments.start(wide, "diag").covariance.shape == (1000, 2048)
    with pytest.raises(UsageError, match="unknown covariance 'low-rank': choose one of diag, full"):
        Moments.start(wide, "low-rank")


def triple_loop(weight, spread, label, strength, mixing=None):
    delta = torch.zeros(len(label), len(weight), dtype=weight.dtype)
    for i, y in enumerate(label.tolist()):
        own = spread[y] if mixing is None else sum(mixing[y, k] * spread[k] for k in range(len(spread)))
        own = own if own.dim() == 2 else torch.diag(own)
        for j in range(len(weight)):
            gap = weight[j] - weight[y]
            for a in range(len(gap)):
                delta[i, j] += strength / 2 * gap[a] * (own[a] @ gap)
    return delta


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("form", ["full", "diag"])
@pytest.mark.parametrize("seed", SEEDS)
def test_delta_is_the_triple_loop(seed, form, mixed):
    weight, _, label, spread = problem(seed, form)
    g = generator(seed)
    mixing = torch.rand(len(weight), len(weight), generator=g, dtype=weight.dtype).softmax(1) if mixed else None
    found = isda_delta(weight, spread, label, 0.7, mixing)
    torch.testing.assert_close(found, triple_loop(weight, spread, label, 0.7, mixing))
    assert found.max() > 1e-3
    assert found.min() > -1e-12
    own = found.gather(1, label[:, None])
    assert torch.equal(own, torch.zeros_like(own))


@pytest.mark.parametrize("seed", SEEDS)
def test_diagonals_are_diagonal_matrices(seed):
    weight, _, label, spread = problem(seed, "diag")
    torch.testing.assert_close(
        isda_delta(weight, spread, label, 2.0), isda_delta(weight, torch.diag_embed(spread), label, 2.0)
    )


@pytest.mark.parametrize("form", ["full", "diag"])
def test_gradients_to_weights_and_covariances(form):
    weight, _, label, spread = problem(3, form)

    def delta(w, s):
        return isda_delta(w, s, label[:3], 0.5)

    assert torch.autograd.gradcheck(delta, (weight.requires_grad_(), spread.requires_grad_()))
    assert torch.autograd.gradgradcheck(delta, (weight, spread))


@pytest.mark.parametrize("strength", [0.01, 0.5, 3.0])
def test_its_cross_entropy_bounds_that_of_sampled_features(strength):
    """E CE(W f~ + b, y) with f~ ~ N(f, strength Sigma_y) is below; for small ones a quarter of delta is too little."""
    g = generator(0)
    weight, bias = (torch.randn(*shape, generator=g, dtype=torch.float64) for shape in ((4, 5), (4,)))
    root = torch.randn(4, 5, 5, generator=g, dtype=torch.float64)
    label = torch.arange(4)
    features = 3 * F.normalize(weight)  # classified well
    sampled = []
    for i, y in enumerate(label.tolist()):
        noise = torch.randn(40000, 5, generator=g, dtype=torch.float64)
        noise = torch.cat([noise, -noise])  # in pairs: the part of the first order is gone
        drawn = features[i] + strength**0.5 * noise @ root[y].T
        losses = F.cross_entropy(drawn @ weight.T + bias, label[i].expand(len(drawn)), reduction="none")
        sampled.append(losses.view(2, -1).mean(0))
    mean = torch.stack([s.mean() for s in sampled])
    error = torch.stack([s.std() / len(s) ** 0.5 for s in sampled])
    delta = isda_delta(weight, root @ root.mT, label, strength)
    logits = features @ weight.T + bias
    bound, quarter = (F.cross_entropy(logits + part, label, reduction="none") for part in (delta, delta / 4))
    assert (bound > mean - 4 * error).all()
    if strength < 0.1:
        assert (quarter < mean - 4 * error).all()
