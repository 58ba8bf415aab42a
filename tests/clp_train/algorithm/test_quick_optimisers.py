"""The optimisers of a run take torch's own steps, to the last bit, and load no compiler."""

import copy
import subprocess
import sys

import pytest
import torch

from clp_train.algorithm import quick_optimisers
from clp_train.algorithm.quick_optimisers import LIKE
from clp_train.algorithm.virtual_step import moves_of

SETTINGS = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("Adam", {"lr": 1e-3, "weight_decay": 1e-4}),
    ("Adam", {"lr": 1e-3, "betas": (0.5, 0.9), "amsgrad": True}),
    ("AdamW", {"lr": 1e-3, "weight_decay": 0.1}),
]
STEPS = 4


def pair(name, settings):
    """Return two networks with the same weights, and an optimiser for each: torch's own, and ours."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3))
    networks = network, copy.deepcopy(network)
    kinds = getattr(torch.optim, name), getattr(quick_optimisers, name)
    return networks, [kind(n.parameters(), **settings) for kind, n in zip(kinds, networks, strict=True)]


def step(networks, optimisers):
    """Take a step of each on the same picture of losses."""
    x = torch.randn(7, 5)
    for network, optimiser in zip(networks, optimisers, strict=True):
        optimiser.zero_grad()
        network(x).square().mean().backward()
        optimiser.step()


def assert_same(networks, optimisers):
    for a, b in zip(*(n.parameters() for n in networks), strict=True):
        assert torch.equal(a, b)
    states = [optimiser.state_dict() for optimiser in optimisers]
    assert states[0]["param_groups"] == states[1]["param_groups"]
    assert states[0]["state"].keys() == states[1]["state"].keys()
    for a, b in zip(*(state["state"].values() for state in states), strict=True):
        assert all(torch.equal(torch.as_tensor(a[k]), torch.as_tensor(b[k])) for k in a if a[k] is not None)


@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_their_steps_are_torchs_to_the_last_bit(name, settings):
    networks, optimisers = pair(name, settings)
    for _ in range(STEPS):
        step(networks, optimisers)
    assert_same(networks, optimisers)
    networks2, others = pair(name, settings)  # a state is taken up as torch's is
    for network, source in zip(networks2, networks, strict=True):
        network.load_state_dict(source.state_dict())
    for optimiser, source in zip(others, optimisers, strict=True):
        optimiser.load_state_dict(source.state_dict())
    step(networks2, others)
    assert_same(networks2, others)


def test_lbfgs_is_torchs_to_the_last_bit():
    found = []
    for kind in (torch.optim.LBFGS, quick_optimisers.LBFGS):
        w = torch.zeros(6, requires_grad=True)
        target = torch.arange(6.0)
        solver = kind([w], max_iter=20, line_search_fn="strong_wolfe")

        def loss(w=w, target=target, solver=solver):
            solver.zero_grad()
            value = ((w - target).square() * target.add(1)).sum() + w.exp().mean()
            value.backward()
            return value

        solver.step(loss)
        found.append(w.detach())
    assert torch.equal(*found)


def test_a_step_records_no_graph_and_hooks_are_called():
    w = torch.ones(2, requires_grad=True)
    optimiser, called = quick_optimisers.SGD([w], lr=0.5), []
    optimiser.register_step_post_hook(lambda *_: called.append(1))
    w.grad = torch.ones(2)
    optimiser.step()
    assert w.requires_grad
    assert w.is_leaf
    assert w.grad_fn is None
    assert called == [1]
    assert w.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("kind", list(LIKE))
def test_they_are_torchs_for_who_asks(kind):
    assert issubclass(kind, LIKE[kind])
    assert kind.__name__ == LIKE[kind].__name__


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_the_virtual_step_knows_them(name):
    networks, optimisers = pair(name, {"lr": 0.1})
    step(networks, optimisers)
    weights = dict(networks[1].named_parameters())
    gradients = [torch.full_like(w, 0.01) for w in weights.values()]
    theirs = moves_of(optimisers[0])(dict(networks[0].named_parameters()), gradients)
    ours = moves_of(optimisers[1])(weights, gradients)
    assert all(torch.equal(a, b) for a, b in zip(theirs.weights, ours.weights, strict=True))


def test_no_compiler_is_loaded():
    code = (
        "import sys, torch\n"
        "from clp_train.algorithm.quick_optimisers import SGD, Adam, AdamW\n"
        "w = torch.ones(2, requires_grad=True)\n"
        "for kind in (SGD, Adam, AdamW):\n"
        "    optimiser = kind([w], lr=0.1)\n"
        "    optimiser.zero_grad(); w.sum().backward(); optimiser.step()\n"
        "    optimiser.load_state_dict(optimiser.state_dict())\n"
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
