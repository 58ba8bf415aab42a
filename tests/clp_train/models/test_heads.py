"""Each last layer against its formula written out in loops; starts, names, gradients."""

import itertools
import math

import pytest
import torch
from torch import nn

from clp_aug.contract.errors import UsageError
from clp_train.models import build_model
from clp_train.models.heads import HEADS, make_head, start_head
from clp_train.models.parts import start_linear
from tests.clp_train.builders import generator


def made(name, features=6, classes=4, seed=0):
    """Return a head in float64, none of its values as they start, and random features."""
    head = make_head(name, features, classes, generator(seed)).double()
    with torch.no_grad():
        for values in head.parameters():
            values.add_(torch.randn(values.shape, generator=generator(seed + 1), dtype=torch.float64))
    return head, torch.randn(5, features, generator=generator(seed + 2), dtype=torch.float64)


def dot(a, b):
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def norm(a):
    return math.sqrt(dot(a, a))


def linear(f, head, c):
    return dot(f, head.weight[c].tolist()) + head.bias[c].item()


def causal(f, w, parts=2, tau=16.0, gamma=1 / 32, direction=None, alpha=0.0):
    """Tang et al. 2020, one picture and one class at a time."""
    cut = [len(f) * k // parts for k in range(parts + 1)]
    total = 0.0
    for start, stop in itertools.pairwise(cut):
        own, weight = f[start:stop], w[start:stop]
        share = dot(own, weight) / (norm(own) * (norm(weight) + gamma))
        if direction is not None:
            along = direction[start:stop]
            cos = dot(own, along) / (norm(own) * norm(along))
            share -= alpha * cos * dot(weight, along) / (norm(along) * (norm(weight) + gamma))
        total += share
    return tau / parts * total


ORACLES = {
    "linear": linear,
    "sigmoid": linear,
    "dual": linear,
    "cosine": lambda f, head, c: dot(f, head.weight[c].tolist()) / (norm(f) * norm(head.weight[c].tolist())),
    "scaled": lambda f, head, c: head.scale[c].item() * linear(f, head, c),
    "causal-norm": lambda f, head, c: causal(f, head.weight[c].tolist()),
}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", sorted(ORACLES))
def test_logits_one_by_one(name, seed):
    head, x = made(name, features=2 * (seed + 1), classes=seed + 2, seed=seed)
    expected = [[ORACLES[name](f, head, c) for c in range(head.out_features)] for f in x.tolist()]
    torch.testing.assert_close(head(x), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("name", HEADS)
def test_gradients(name):
    head, x = made(name)
    assert torch.autograd.gradcheck(head, x.requires_grad_())
    assert torch.autograd.gradcheck(
        lambda w: torch.func.functional_call(head, {"weight": w}, (x.detach(),)), head.weight
    )


@pytest.mark.parametrize("name", HEADS)
def test_starts_from_the_generator_alone(name):
    before = torch.get_rng_state()
    head, again, other = (make_head(name, 30, 7, generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert isinstance(head, nn.Linear)
    assert head.weight.shape == (7, 30)
    state = head.state_dict()
    assert all(torch.equal(state[key], value) for key, value in again.state_dict().items())
    assert not torch.equal(head.weight, other.weight)
    if name != "cosine":
        assert 0.9 / math.sqrt(30) < head.weight.abs().max() <= 1 / math.sqrt(30)
    for value in other.state_dict().values():
        value.add_(1)
    start_head(other, generator(0))  # anew
    assert all(torch.equal(state[key], value) for key, value in other.state_dict().items())


def test_special_starts():
    cosine, plain = make_head("cosine", 30, 7, generator()), nn.Linear(30, 7, bias=False)
    start_linear(plain, generator())
    torch.testing.assert_close(cosine.weight.norm(dim=1), torch.ones(7))
    torch.testing.assert_close(cosine.weight, plain.weight / plain.weight.norm(dim=1, keepdim=True))
    sigmoid = make_head("sigmoid", 30, 7, generator())
    torch.testing.assert_close(sigmoid.bias.sigmoid(), torch.full((7,), 1 / 7))
    assert torch.equal(make_head("scaled", 30, 7, generator()).scale, torch.ones(7))
    dual = make_head("dual", 30, 7, generator())
    assert not torch.equal(dual.weight, dual.second.weight)


def test_a_scale_of_1_is_a_linear_layer():
    head = make_head("scaled", 6, 4, generator())
    x = torch.randn(5, 6, generator=generator(1))
    assert torch.equal(head(x), nn.functional.linear(x, head.weight, head.bias))


def test_cosines_are_bounded_and_free_of_lengths():
    head, x = made("cosine")
    z = head(x)
    assert z.abs().max() <= 1
    torch.testing.assert_close(head(1000 * x), z)
    assert torch.equal(head(torch.zeros(2, 6, dtype=torch.float64)), torch.zeros(2, 4, dtype=torch.float64))


@pytest.mark.parametrize("seed", range(5))
def test_the_causal_norm_less_what_lies_along_a_direction(seed):
    head, x = made("causal-norm", features=6, seed=seed)
    direction = torch.randn(6, generator=generator(seed + 9), dtype=torch.float64)
    for alpha in (0.0, 0.5, 3.0):
        expected = [
            [causal(f, w, direction=direction.tolist(), alpha=alpha) for w in head.weight.tolist()] for f in x.tolist()
        ]
        torch.testing.assert_close(head.logits(x, direction, alpha), torch.tensor(expected, dtype=torch.float64))
    torch.testing.assert_close(head.logits(x, direction, 0.0), head(x))
    torch.testing.assert_close(head.logits(x, torch.zeros(6, dtype=torch.float64), 3.0), head(x))  # no direction yet
    along = head.logits(direction[None], direction, 1.0)
    torch.testing.assert_close(along, torch.zeros_like(along))  # nothing is left


def test_the_second_of_two_does_not_touch_the_first():
    head, x = made("dual")
    first, second = head(x), head.second(x)
    torch.testing.assert_close(second, x @ head.second.weight.T + head.second.bias)
    (slope,) = torch.autograd.grad(first.sum(), head.second.weight, allow_unused=True)
    assert slope is None


def test_parameters_of_a_resnet32_with_cosines():
    for classes, expected in ((10, 464_144), (100, 469_904)):
        network = build_model("resnet32", classes, [0.5] * 3, [0.25] * 3, generator())
        network.head = make_head("cosine", 64, classes, generator())
        assert sum(values.numel() for values in network.parameters()) == expected


def test_an_unknown_head():
    with pytest.raises(UsageError) as error:
        make_head("round", 6, 4, generator())
    known = "causal-norm, cosine, dual, linear, scaled, sigmoid"
    assert str(error.value) == f"unknown head 'round': choose one of {known}"
