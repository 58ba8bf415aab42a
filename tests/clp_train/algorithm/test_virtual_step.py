"""Where a step leads, and how that follows the gradient: against the optimisers of torch themselves, in float64."""

import copy

import pytest
import torch
from torch.optim import SGD, Adam, AdamW, RMSprop

from clp_aug.contract.errors import SettingError
from clp_train.algorithm.virtual_step import moves_of, sgd_moves

OPTIMISERS = {
    "sgd": (SGD, {"lr": 0.3}),
    "momentum": (SGD, {"lr": 0.3, "momentum": 0.9, "weight_decay": 0.1}),
    "dampening": (SGD, {"lr": 0.3, "momentum": 0.8, "dampening": 0.3}),
    "nesterov": (SGD, {"lr": 0.3, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    "uphill": (SGD, {"lr": 0.3, "momentum": 0.9, "maximize": True}),
    "adam": (Adam, {"lr": 0.1}),
    "adam, decay": (Adam, {"lr": 0.1, "weight_decay": 0.2, "betas": (0.8, 0.95), "eps": 1e-3}),
    "adam uphill": (Adam, {"lr": 0.1, "maximize": True, "weight_decay": 0.2}),
    "amsgrad": (Adam, {"lr": 0.1, "amsgrad": True, "betas": (0.5, 0.6)}),
    "adamw": (AdamW, {"lr": 0.1, "weight_decay": 0.2}),
    "adamw, foreach": (AdamW, {"lr": 0.1, "weight_decay": 0.2, "foreach": True}),
}


def drawn(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def started(kind, settings, steps):
    """Two parameters in two groups of other learning rates and decays, and their optimiser after some steps."""
    weights = {f"w{k}": torch.nn.Parameter(drawn(5, 2, seed=k)) for k in range(2)}
    groups = [{"params": [weights["w0"]]}, {"params": [weights["w1"]], "lr": 0.05, "weight_decay": 0.3}]
    optimiser = kind(groups, **settings)
    for step in range(steps):
        take(optimiser, weights, [drawn(5, 2, seed=10 * step + k) for k in range(2)])
    return weights, optimiser


def take(optimiser, weights, gradients):
    for w, g in zip(weights.values(), gradients, strict=True):
        w.grad = g.clone()
    optimiser.step()


def after(weights, optimiser, gradients):
    """Return the weights after a real step, of copies."""
    weights, optimiser = copy.deepcopy((weights, optimiser))
    take(optimiser, weights, gradients)
    return [w.detach() for w in weights.values()]


@pytest.mark.parametrize("steps", [0, 1, 4])
@pytest.mark.parametrize(("kind", "settings"), OPTIMISERS.values(), ids=OPTIMISERS)
def test_a_move_is_the_optimisers_own_step_and_its_slope_is_its_derivative(kind, settings, steps):
    weights, optimiser = started(kind, settings, steps)
    gradients = [drawn(5, 2, seed=100 + k) for k in range(2)]
    before = copy.deepcopy((weights, optimiser.state_dict()))
    move = moves_of(optimiser)(weights, gradients)
    assert all(torch.equal(w, weights[name]) for name, w in before[0].items())
    for found, expected in zip(move.weights, after(weights, optimiser, gradients), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    h = 1e-5
    ends = [after(weights, optimiser, [g + sign * h for g in gradients]) for sign in (1, -1)]
    for slope, up, down in zip(move.slopes, *ends, strict=True):
        expected = -(up - down) / (2 * h)
        torch.testing.assert_close(torch.as_tensor(slope).expand_as(expected).double(), expected, rtol=1e-5, atol=1e-8)


def test_some_of_the_weights_move_as_among_all():
    weights, optimiser = started(AdamW, {"lr": 0.1}, 3)
    gradients = [drawn(5, 2, seed=100 + k) for k in range(2)]
    whole = moves_of(optimiser)(weights, gradients)
    part = moves_of(optimiser)({"w1": weights["w1"]}, gradients[1:])
    assert torch.equal(part.weights[0], whole.weights[1])
    assert torch.equal(part.slopes[0], whole.slopes[1])


def test_adams_first_step_is_a_sign_which_hardly_follows_the_gradient():
    weights, optimiser = started(Adam, {"lr": 0.1}, 0)
    move = moves_of(optimiser)(weights, [torch.ones(5, 2, dtype=torch.float64)] * 2)
    torch.testing.assert_close(move.slopes[0], torch.full((5, 2), 0.1 * 1e-8, dtype=torch.float64), rtol=1e-6, atol=0)


@pytest.mark.parametrize("amsgrad", [False, True])
def test_a_weight_that_never_had_a_gradient_stays_and_has_no_slope(amsgrad):
    weights, optimiser = started(Adam, {"lr": 0.1, "amsgrad": amsgrad}, 0)
    for _ in range(3):
        take(optimiser, weights, [torch.zeros(5, 2, dtype=torch.float64)] * 2)
    move = moves_of(optimiser)({"w0": weights["w0"]}, [torch.zeros(5, 2, dtype=torch.float64)])
    assert torch.equal(move.weights[0], weights["w0"])
    assert not move.slopes[0].any()


def test_equation_8():
    w, g, d = {"w": torch.tensor([1.0, 2.0])}, [torch.tensor([3.0, 4.0])], [torch.tensor([1.0, 0.0])]
    assert sgd_moves([0.5])(w, g).weights[0].tolist() == [-0.5, 0.0]
    moved = sgd_moves([0.5], d)(w, g)
    assert (moved.weights[0].tolist(), moved.slopes) == ([-1.0, 0.0], (0.5,))


def test_another_optimiser_is_refused_in_one_line():
    weights, _ = started(Adam, {"lr": 0.1}, 0)
    message = r"^optimiser = RMSprop: its step is not known; expected one of SGD, Adam, AdamW; take virtual = plain$"
    with pytest.raises(SettingError, match=message):
        moves_of(RMSprop(weights.values()))

    class MyAdam(Adam):
        """Who knows what it does."""

    with pytest.raises(SettingError, match=r"^optimiser = MyAdam: "):
        moves_of(MyAdam(weights.values()))
