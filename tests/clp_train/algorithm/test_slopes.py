"""SLOPES: u' by differences against forward mode in float64, and what a one-sided difference saves."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from clp_aug.contract.errors import SettingError
from clp_train.algorithm import slopes
from clp_train.algorithm.noise import same_noise
from clp_train.algorithm.passes import PassTaken, logits_of, pass_taken, virtual_pass
from clp_train.algorithm.precision import compute_in
from clp_train.algorithm.second_order import second_order
from clp_train.algorithm.slopes import DIFFERENCES, SLOPES, slope_of
from clp_train.models.parts import Output, frozen_batch_norm, heads
from tests.clp_train.algorithm.small_cases import problem
from tests.clp_train.builders import batch_of, generator, network_of

CPU = torch.device("cpu")
PASSES = {"forward": 1, "central": 2, "one-sided": 2}
ORDER = {"central": 4, "one-sided": 2}  # what the error falls by at half the step


def detached(network):
    return {name: w.detach() for name, w in network.named_parameters()}


def random_direction(weights, seed=0):
    g = generator(seed)
    return [torch.randn(w.shape, generator=g, dtype=torch.float64).to(w.dtype) for w in weights.values()]


def loss_direction(network, x, label):
    """The gradient of the cross entropy: a direction that such a step really looks along."""
    loss = F.cross_entropy(virtual_pass(network, dict(network.named_parameters()), x).logits, label)
    return torch.autograd.grad(loss, tuple(network.parameters()))


def in_float64(network, weights, direction, x):
    doubles = {name: w.double() for name, w in weights.items()}
    return SLOPES["forward"](copy.deepcopy(network).double(), doubles, [v.double() for v in direction], x.double())


def relative(found, expected):
    return float((found.double() - expected).norm() / expected.norm())


@pytest.mark.parametrize("mode", DIFFERENCES)
def test_the_error_falls_with_the_step(mode, monkeypatch):
    net, _, (images, _), _, _, _ = problem()
    weights = detached(net)
    direction = random_direction(weights)
    exact, errors = SLOPES["forward"](net, weights, direction, images), []
    for step in (4e-3, 2e-3, 1e-3):
        monkeypatch.setattr(slopes, "CENTRAL_STEP" if mode == "central" else "ONE_SIDED_STEP", step)
        errors.append((SLOPES[mode](net, weights, direction, images) - exact).abs().max().item())
    assert errors[0] / errors[1] == pytest.approx(ORDER[mode], rel=0.2)
    assert errors[1] / errors[2] == pytest.approx(ORDER[mode], rel=0.2)


@pytest.mark.parametrize("mode", DIFFERENCES)
def test_at_weights_that_are_all_zero_a_difference_is_the_forward_slope(mode):
    network = nn.Linear(4, 3).double()
    weights = {name: torch.zeros_like(w) for name, w in network.named_parameters()}
    direction, x = random_direction(weights), torch.randn(5, 4, generator=generator(1), dtype=torch.float64)
    found, expected = (SLOPES[which](network, weights, direction, x, lambda out: out) for which in (mode, "forward"))
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(found, expected)


def trained_network(steps, frozen, seed):
    """A small classifier in float32, trained on one batch; after many steps its gradients are nearly zero."""
    network, batch = network_of(seed=seed).float().train(), batch_of(seed, n=24, side=12, dtype=torch.float32)
    if frozen:
        frozen_batch_norm(network)
    optimiser = torch.optim.SGD(network.parameters(), 1e-2 if frozen else 0.1, 0.9)
    for _ in range(steps):
        optimiser.zero_grad()
        F.cross_entropy(network(batch.images).logits, batch.label).backward()
        optimiser.step()
    return network, batch


@pytest.mark.parametrize("mode", DIFFERENCES)
@pytest.mark.parametrize("frozen", [False, True], ids=["batch norm", "frozen batch norm"])
@pytest.mark.parametrize("steps", [0, 5, 60])
@pytest.mark.parametrize("seed", [0, 1])
def test_in_float32_a_difference_is_the_slope_of_float64(seed, steps, frozen, mode):
    network, batch = trained_network(steps, frozen, seed)
    weights = detached(network)
    other = batch_of(seed + 2, n=24, side=12, dtype=torch.float32)
    for direction in (loss_direction(network, other.images, other.label), random_direction(weights, seed)):
        found = SLOPES[mode](network, weights, direction, batch.images)
        expected = in_float64(network, weights, direction, batch.images)
        assert relative(found, expected) < 0.1, "kinks and rounding: two digits along any direction"


@pytest.mark.parametrize("steps", [0, 5, 60])
def test_along_gradients_a_one_sided_difference_errs_little_more_than_a_central_one(steps):
    """Over several networks together, as one may be lucky: measured, about as much."""
    errors = dict.fromkeys(DIFFERENCES, 0.0)
    for seed in range(3):
        network, batch = trained_network(steps, False, seed)
        weights, other = detached(network), batch_of(seed + 4, n=24, side=12, dtype=torch.float32)
        direction = loss_direction(network, other.images, other.label)
        expected = in_float64(network, weights, direction, batch.images)
        for mode in DIFFERENCES:
            errors[mode] += relative(SLOPES[mode](network, weights, direction, batch.images), expected) ** 2
    assert errors["one-sided"] < 4**2 * errors["central"]


class Remembers(nn.Module):
    """Its output depends on a buffer that every pass in train mode changes."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(192, 3)
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, x):
        self.passes += 1
        features = x.flatten(1) * self.passes
        return Output(features, self.head(features))


def dropped_out():
    network = network_of().float().train()
    network.groups.append(nn.Dropout2d(0.3))
    return network


NETWORKS = {
    "batch norm": lambda: network_of().float().train(),
    "frozen batch norm": lambda: frozen_batch_norm(network_of().float()).train(),
    "channels last": lambda: network_of().float().train().to(memory_format=torch.channels_last),
    "dropout": dropped_out,
    "a buffer that passes change": Remembers,
}


@pytest.mark.parametrize("within", [None, second_order], ids=["plain", "second order"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_pass_taken_is_the_one_that_the_difference_would_take(name, within):
    """Number by number: any other last bit would be divided by the step."""
    network, images = NETWORKS[name](), batch_of(n=8, dtype=torch.float32).images.requires_grad_()
    with same_noise(3, CPU):
        taken = pass_taken(network) if within is None else pass_taken(network, within)
        with taken.within():
            here = network(images).logits
        weights = detached(network)
        direction, calls = random_direction(weights), []
        network.head.register_forward_hook(lambda *_: calls.append(1))
        with torch.no_grad(), taken.within():
            again = virtual_pass(network, weights, images.detach(), taken.buffers).logits
        assert torch.equal(again, here)
        calls.clear()
        still = [torch.zeros_like(v) for v in direction]
        found = slope_of("one-sided", network, weights, still, images.detach(), logits_of, here, taken)
        assert torch.equal(found, torch.zeros_like(here)), "v = 0 moves nothing"
        assert len(calls) == 1
        slope = slope_of("one-sided", network, weights, direction, images.detach(), logits_of, here, taken)
        step = slopes.step_along(weights, direction, slopes.ONE_SIDED_STEP)
        with torch.no_grad(), taken.within():
            moved = slopes.moved(weights, direction, step)
            beyond = virtual_pass(network, moved, images.detach(), taken.buffers).logits
        assert torch.equal(slope, (beyond - again) / step)


@pytest.mark.parametrize("mode", SLOPES)
@pytest.mark.parametrize("known", [False, True], ids=["alone", "beside the pass taken"])
def test_how_many_passes_a_slope_takes(mode, known):
    network, images = network_of().float().train(), batch_of(dtype=torch.float32).images
    taken = pass_taken(network) if known else None
    here, weights, calls = network(images).logits, detached(network), []
    network.head.register_forward_hook(lambda *_: calls.append(1))
    slope_of(mode, network, weights, random_direction(weights), images, logits_of, here, taken)
    assert len(calls) == PASSES[mode] - (known and mode == "one-sided")


def test_a_pass_that_rounds_is_not_compared_with():
    network = network_of().float().train()
    assert isinstance(pass_taken(network), PassTaken)
    with torch.autocast("cpu", torch.bfloat16):
        assert pass_taken(network) is None
    low = network_of().float().train()
    compute_in(low, heads(low), "bf16")
    assert pass_taken(low) is None
    compiled = network_of().float().train()
    compiled.groups[0]._compiled_call_impl = compiled.groups[0]._call_impl
    assert pass_taken(compiled) is None


def test_of_a_network_that_rounds_the_slope_is_taken_in_float32_all_the_same():
    network, images = network_of().float().train(), batch_of(n=12, dtype=torch.float32).images
    low = copy.deepcopy(network)
    compute_in(low, heads(low), "bf16")
    weights, taken, here = detached(network), pass_taken(low), low(images).logits
    direction = random_direction(weights)
    found = slope_of("one-sided", low, weights, direction, images, logits_of, here, taken)
    assert torch.equal(found, SLOPES["one-sided"](network, weights, direction, images))


@pytest.mark.parametrize("mode", DIFFERENCES)
def test_a_type_that_rounds_more_than_the_step_is_refused(mode):
    network = nn.Linear(4, 3).bfloat16()
    weights = detached(network)
    with pytest.raises(SettingError) as error:
        SLOPES[mode](network, weights, list(weights.values()), torch.ones(2, 4, dtype=torch.bfloat16), lambda out: out)
    assert str(error.value) == (
        f"hypergradient = {mode}: torch.bfloat16 rounds by more than the step of a difference;"
        " take hypergradient = forward"
    )
