"""MetaSAug against finite differences and the textbook's double backward."""

import copy

import pytest
import torch
from torch.nn import functional as F

from clp_aug.contract.errors import UsageError
from clp_train.algorithm.objective import Terms
from clp_train.methods.metasaug import MetaSaug
from clp_train.methods.metasaug import Options as MetaOptions
from clp_train.methods.parts.class_weights import effective_weights
from tests.clp_train.builders import batch_of, config_of, generator, method_of, network_of, optimiser_of, step, table_of
from tests.clp_train.methods.moments_cases import (
    TWELVE,
    assert_same_weights,
    covariances,
    entered,
    isda_by_hand,
    plain_step,
    small,
    view_through,
)
from tests.clp_train.methods.shared_cases import assert_refused, assert_refuses_empty_classes

ORACLES = ("metasaug",)


@pytest.mark.parametrize("mode", ["reference", "forward", "central"])
def test_a_step_of_metasaug_by_finite_differences(mode):
    """Sigma~ is Sigma less its rate times the gradient of the meta loss behind a virtual step; then ISDA's step."""
    network, batch, meta = network_of(), batch_of(n=12, rows=True), batch_of(5, 12)
    label = torch.arange(30) % 4 % 3
    config = config_of("metasaug", hypergradient=mode)
    method = entered("metasaug", network, label, strength=0.8, rate=0.2, beta=0.9)
    earlier = view_through(network, 1, 20, 0.85)
    method.observe(earlier)
    sigma, start = method.moments.covariance.clone(), copy.deepcopy(network)
    weight = effective_weights(torch.tensor([15.0, 8.0, 7.0]), 0.9)[batch.label].double()

    def virtual_loss(values):
        stepped = copy.deepcopy(start)
        out = stepped(batch.images)
        delta = isda_by_hand(stepped.head.weight, values, batch.label, 0.8 * 0.9)
        losses = F.cross_entropy(out.logits + delta, batch.label, reduction="none")
        ((weight * losses).sum() / weight.sum()).backward()
        with torch.no_grad():
            for w in stepped.parameters():
                w -= config.sgd.lr * w.grad
        return F.cross_entropy(stepped(meta.images).logits, meta.label).item()

    found = step(network, method, optimiser_of(network, config), batch, meta, config, progress=0.9)
    assert found.meta == pytest.approx(virtual_loss(sigma))
    gradient, g = (sigma - method.learned[0]) / 0.2, generator(2)
    for _ in range(3):
        direction = torch.randn(sigma.shape, generator=g, dtype=torch.float64)
        ends = [virtual_loss(sigma + sign * 1e-4 * (direction + direction.mT)) for sign in (1, -1)]
        expected = (ends[0] - ends[1]) / 2e-4
        assert abs(expected) > 1e-3
        tolerance = 1e-2 if mode == "central" else 1e-4
        assert (gradient * (direction + direction.mT)).sum().item() == pytest.approx(expected, rel=tolerance)

    corrected = method.learned[0].detach()
    other = copy.deepcopy(start)
    plain_step(other, batch, lambda w, _: isda_by_hand(w, corrected, batch.label, 0.8 * 0.9), weight, config)
    assert_same_weights(network, other)
    features = torch.cat([earlier.features, start(batch.images).features.detach()])
    own = torch.cat([earlier.label, batch.label])
    torch.testing.assert_close(method.moments.covariance, covariances(features, own))  # the correction is gone


class Pulled(MetaSaug):
    """With a penalty beside it."""

    def penalty(self, out, batch, network):
        return 0.3 * out.features.square().mean()


@pytest.mark.parametrize("mode", ["reference", "forward", "central"])
def test_the_final_step_follows_the_head_within_delta_beside_a_penalty_too(mode):
    network, batch, meta = network_of(), batch_of(n=12, rows=True), batch_of(5, 12)
    config = config_of("metasaug", hypergradient=mode)
    method = Pulled(MetaOptions(strength=0.8, beta=0.0), torch.full((3,), 4.0))
    method.enter(0, network)
    method.observe(view_through(network, 1, 20, 0.85))
    other = copy.deepcopy(network)
    step(network, method, optimiser_of(network, config), batch, meta, config, progress=0.9)
    corrected, optimiser, out = method.learned[0].detach(), optimiser_of(other, config), other(batch.images)
    delta = isda_by_hand(other.head.weight, corrected, batch.label, 0.8 * 0.9)
    (F.cross_entropy(out.logits + delta, batch.label) + 0.3 * out.features.square().mean()).backward()
    optimiser.step()
    assert_same_weights(network, other)


def test_metasaug_is_cross_entropy_until_it_starts():
    network = small(0)
    method, view = entered("metasaug", network), view_through(network, 0, 6, 0.79)
    method.observe(view)
    assert method.terms(view) == Terms()
    assert not method.moments.count.any()
    assert [method.learns(progress) for progress in (0.0, 0.79, 0.8, 0.99)] == [False, False, True, True]
    view = view._replace(progress=0.8)
    method.observe(view)
    assert method.moments.count.sum() == 6
    terms = method.terms(view)
    assert not terms.delta.any()  # no feature came before this batch
    assert terms.normaliser == "sum_w"


def test_metasaug_takes_the_heads_weights_of_a_meta_view():
    network = small(0)
    method = entered("metasaug", network)
    for seed in range(2):
        method.observe(view_through(network, seed, 9, 0.9))
    head = torch.randn(3, 4, generator=generator(3), dtype=torch.float64)
    view = view_through(network, 4, 5, 0.0)._replace(head=head, row=None)
    delta = method.terms(view).delta
    torch.testing.assert_close(delta, isda_by_hand(head, method.learned[0], view.label, 0.5 * 0.9))


def test_metasaug_refuses():
    assert_refuses_empty_classes("metasaug")
    assert_refused("metasaug", "rate = -0.1: expected a number >= 0", rate=-0.1)
    assert_refused("metasaug", "start = 1.5: expected a number from 0 to 1", start=1.5)
    assert_refused("metasaug", "beta = 1.0: expected a number >= 0 and < 1", beta=1.0)
    with pytest.raises(UsageError) as error:
        method_of("metasaug", table_of(TWELVE), meta_step="lagged")
    assert str(error.value) == (
        "meta_step = lagged: method metasaug corrects the covariances of the step itself; take meta_step = exact"
    )
