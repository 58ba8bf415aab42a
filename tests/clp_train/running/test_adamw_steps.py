"""Steps of clp-train by AdamW: the virtual step is AdamW's own, and Omega's gradient is that of the step taken."""

import copy

import pytest
import torch

from clp_train.algorithm.losses import meta_losses
from clp_train.algorithm.noise import same_noise
from clp_train.algorithm.passes import virtual_pass
from tests.clp_train.builders import batch_of, optimiser_of, parts, step

SETTINGS = {"optimiser": "adamw", "lr": 1e-3, "head_lr": 3e-3, "saliency_lambda": 0.0, "hypergradient": "forward"}
META = batch_of(9, 6, [0, 1, 2] * 2)


def begun(**change):
    """Configuration, network, method and optimiser after two plain steps, so that there are moments."""
    config, network, method, optimiser = parts("clp", **SETTINGS, **change)
    for number in range(2):
        step(network, method, optimiser, batch_of(number, 6), None, config, number)
    return config, network, method, optimiser


def meta_loss_after_a_step(config, network, method, optimiser, change=None):
    """Return the meta loss after a real step with Omega as it is but for a change of its last layer, on copies."""
    network, method = copy.deepcopy((network, method))
    state, optimiser = optimiser.state_dict(), optimiser_of(network, config)
    optimiser.load_state_dict(copy.deepcopy(state))
    if change is not None:
        method.network.last.weight.data += change
    step(network, method, optimiser, batch_of(2, 6), None, config, 2)
    with same_noise(0, torch.device("cpu")):
        out = virtual_pass(network, dict(network.named_parameters()), META.images)
    return meta_losses(out.logits, META.label, META.kind).mean().item()


@pytest.mark.parametrize("change", [{}, {"meta_step": "lagged"}], ids=["exact", "lagged"])
def test_omegas_gradient_is_that_of_the_meta_loss_after_the_real_step(change):
    config, network, method, optimiser = begun(**change)
    start = copy.deepcopy((network, method)), copy.deepcopy(optimiser.state_dict())
    losses = step(network, method, optimiser, batch_of(2, 6), META, config, 2)
    gradient = method.network.last.weight.grad
    (network, method), state = start
    optimiser = optimiser_of(network, config)
    optimiser.load_state_dict(state)
    assert losses.meta == pytest.approx(meta_loss_after_a_step(config, network, method, optimiser), rel=1e-9)
    g, h = torch.Generator().manual_seed(1), 1e-4
    for _ in range(3):
        direction = torch.randn(gradient.shape, generator=g, dtype=torch.float64)
        ends = [meta_loss_after_a_step(config, network, method, optimiser, sign * h * direction) for sign in (1, -1)]
        expected = (ends[0] - ends[1]) / (2 * h)
        assert abs(expected) > 1e-7
        assert (gradient * direction).sum().item() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("change", [{"meta_scope": "last-block"}, {"meta_step": "lagged", "meta_scope": "last-block"}])
def test_within_a_scope_it_runs_and_moves_omega(change):
    config, network, method, optimiser = begun(**change)
    before = method.network.last.weight.detach().clone()
    step(network, method, optimiser, batch_of(2, 6), META, config, 2)
    assert not torch.equal(before, method.network.last.weight)
