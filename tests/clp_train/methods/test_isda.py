"""ISDA, step by step, against loops over pictures."""

import copy

import pytest
import torch

from tests.clp_train.builders import batch_of, config_of, network_of, optimiser_of, step
from tests.clp_train.methods.moments_cases import (
    assert_same_weights,
    covariances,
    delta_by_hand,
    entered,
    isda_by_hand,
    plain_step,
    small,
    view_through,
)

ORACLES = ("isda",)


@pytest.mark.parametrize("form", ["full", "diag"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_isda_over_batches(form, dtype):
    network = small(0, dtype=dtype)
    method = entered("isda", network, covariance=form, strength=0.8)
    features, label = torch.zeros(0, 4), torch.zeros(0, dtype=int)
    for seed, (n, progress) in enumerate([(5, 0.0), (1, 0.25), (7, 0.5), (2, 0.75)]):
        view = view_through(network, seed, n, progress, dtype=dtype)
        features, label = torch.cat([features, view.features.double()]), torch.cat([label, view.label])
        method.observe(view)
        terms = method.terms(view)
        assert terms.weight is None
        if form == "full":
            expected = delta_by_hand(network.head.weight.double(), features, label, view.label, 0.8 * progress)
        else:
            w = network.head.weight.detach().double()
            spread = torch.stack(
                [features[label == c].var(0, correction=0) if (label == c).any() else torch.zeros(4) for c in range(3)]
            )
            expected = [[0.4 * progress * ((w[j] - w[y]) ** 2 * spread[y]).sum() for j in range(3)] for y in view.label]
        close = {"rtol": 1e-4, "atol": 1e-5} if dtype == torch.float32 else {}
        torch.testing.assert_close(terms.delta.detach().double(), torch.tensor(expected, dtype=torch.float64), **close)


@pytest.mark.parametrize(("strength", "progress"), [(0.5, 0.0), (0.0, 0.9)])
def test_isda_without_strength_is_cross_entropy(strength, progress):
    """At the start of a run, and with lambda_0 = 0 at any time."""
    network = small(0)
    method, view = entered("isda", network, strength=strength), view_through(network, 0, 6, progress)
    method.observe(view)
    assert not method.terms(view).delta.any()


def test_a_step_of_isda_follows_the_heads_weights_within_delta():
    network, batch = network_of(), batch_of(n=12, rows=True)
    other, config = copy.deepcopy(network), config_of("isda")
    method = entered("isda", network, strength=2.0)
    step(network, method, optimiser_of(network, config), batch, None, config, progress=0.5)

    def delta(weight, features):
        return isda_by_hand(weight, covariances(features, batch.label), batch.label, 1.0)

    still = copy.deepcopy(other)
    plain_step(other, batch, delta, torch.ones(12), config)
    assert_same_weights(network, other)
    plain_step(still, batch, lambda weight, features: delta(weight.detach(), features), torch.ones(12), config)
    assert (still.head.weight - network.head.weight).abs().max() > 1e-6  # it matters that delta is followed


def test_isda_goes_on_from_its_state():
    network = small(0)
    method, other = (entered("isda", network) for _ in range(2))
    for seed in range(3):
        method.observe(view_through(network, seed, 6, 0.5))
    state = {name: value.clone() for name, value in method.state_dict().items()}
    other.load_state_dict(state)
    other.enter(0, network)
    view = view_through(network, 5, 6, 0.7)
    for one in (method, other):
        one.observe(view)
    assert torch.equal(method.terms(view).delta, other.terms(view).delta)
    assert state["moments.count"].sum() == 18  # what was loaded is not changed in place
    for name in state:
        with pytest.raises(KeyError):
            other.load_state_dict({key: value for key, value in state.items() if key != name})
