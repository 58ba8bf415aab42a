"""The losses at logits far apart, and whole steps, in the types that networks are trained in."""

from dataclasses import replace

import pytest
import torch

from clp_aug.contract.errors import SettingError
from clp_train.algorithm import losses
from clp_train.algorithm.optimiser import build_optimiser
from clp_train.algorithm.saliency import SALIENCY_TARGETS
from clp_train.models.parts import heads
from tests.clp_train.builders import LABELS, batch_of, build, config_of, generator, network_of, step, table_of

TYPES = (torch.float32, torch.bfloat16)
LOSSES = {
    "cross entropy": losses.cross_entropy,
    "eq. (3)": losses.counterfactual_loss,
    "eq. (7), originals": lambda logits, label: losses.meta_losses(logits, label, torch.zeros_like(label)),
    "eq. (7), counterfactuals": lambda logits, label: losses.meta_losses(logits, label, torch.ones_like(label)),
}


def spread(gap, dtype):
    """Return logits (12, 4): single classes far from the others either way, pairs of them, all far from zero."""
    rows = [[gap, 0, 0, 0], [0, gap, 0, 0], [0, 0, gap, gap], [-gap, 0, gap, 0], [-gap] * 4, [gap] * 4]
    rows += [
        [gap / 2, gap, -gap, 0],
        [0, 0, 0, -gap],
        [-gap, -gap, -gap, 0],
        [0] * 4,
        [gap, -gap, 0, 0],
        [1, 0, 0, gap],
    ]
    return torch.tensor(rows, dtype=torch.float64).to(dtype)


def exact(name, logits, label):
    """Return the loss and its gradient by log-sum-exps in float64."""
    logits = logits.double().requires_grad_()
    own = logits.gather(1, label[:, None]).squeeze(1)
    rest = torch.stack([u[torch.arange(4) != y].logsumexp(0) for u, y in zip(logits, label, strict=True)])
    away = "counterfactual" in name or "(3)" in name
    values = torch.logaddexp(own - rest, torch.zeros(())) if away else torch.logaddexp(rest - own, torch.zeros(()))
    return values.detach(), torch.autograd.grad(values.sum(), logits)[0]


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("gap", [1.0, 20.0, 90.0, 1e3, 1e4])
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("y", [0, 3])
def test_losses_and_gradients_at_any_gap(name, gap, dtype, y):
    logits, label = spread(gap, dtype).requires_grad_(), torch.full((12,), y)
    values = LOSSES[name](logits, label)
    (gradient,) = torch.autograd.grad(values.sum(), logits)
    expected, slope = exact(name, logits.detach(), label)
    assert values.dtype == gradient.dtype == dtype
    assert values.isfinite().all()
    assert gradient.isfinite().all()
    assert (values >= 0).all()
    rounding = torch.finfo(dtype).eps * gap  # of a logit that far from zero
    torch.testing.assert_close(values.double(), expected, rtol=1e-2, atol=1e-5 + rounding)
    assert ((gradient.double() - slope).abs() <= 1e-2 + rounding * slope.abs().clamp(min=0.1)).all()
    assert gradient.abs().max() <= 1


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("target", SALIENCY_TARGETS)
def test_saliency_targets_at_large_gaps(target, dtype):
    logits = spread(1e4, dtype).requires_grad_()
    (gradient,) = torch.autograd.grad(SALIENCY_TARGETS[target](logits, torch.zeros(12).long()).sum(), logits)
    assert gradient.isfinite().all()


def rounded_batch(seed, dtype, kind=(0,)):
    """Return a batch whose pictures are the same in every type, but for rounding."""
    batch = batch_of(seed, kind=kind, dtype=torch.float32)
    return replace(batch, images=batch.images.to(dtype))


def steps(dtype, count, scale=1.0, **change):
    """Do some steps of CLP, all of it in one type; return its parts and the losses. Omega is not zero."""
    config = config_of(lr=0.05, **{"hypergradient": "forward", **change})
    network = network_of().to(dtype)
    with torch.no_grad():
        network.head.weight *= scale
    method = build(config, table_of(LABELS), 1)
    start = torch.randn(method.network.last.weight.shape, generator=generator(2))
    method.network.last.weight.data = start
    method.network.to(dtype)
    method.classes = type(method.classes)(*(values.to(dtype) for values in method.classes))
    optimiser = build_optimiser(network, heads(network), config.sgd)
    meta = rounded_batch(9, dtype, (0, 1, 2))
    found = [step(network, method, optimiser, rounded_batch(k, dtype), meta, config, k) for k in range(count)]
    return network, method, found


FORMS = (
    {},
    {"hypergradient": "reference"},
    {"meta_delta": "paper"},
    {"meta_step": "lagged"},
    {"meta_scope": "last-block"},
    {"meta_batch_norm": "running"},
    {"virtual_momentum": True},
    {"saliency_subset": 0.5},
    {"saliency_relative": True},
    {"saliency_target": "logit-gap"},
    {"omega_form": "true-class"},
)


@pytest.mark.parametrize("change", FORMS, ids=str)
def test_steps_of_clp_in_bfloat16(change):
    network, method, found = steps(torch.bfloat16, 3, **change)
    start, _, _ = steps(torch.bfloat16, 0, **change)
    for values in (*network.parameters(), *network.buffers(), *method.learned, *method.classes):
        assert values.isfinite().all()
    assert {w.dtype for w in (*network.parameters(), *method.learned, *method.classes)} == {torch.bfloat16}
    assert all(not torch.equal(a, b) for a, b in zip(network.parameters(), start.parameters(), strict=True))
    assert all(values.grad.isfinite().all() for values in method.learned)
    assert all(None not in (losses.train, losses.meta, losses.saliency) for losses in found)


def test_central_differences_in_bfloat16_are_refused():
    message = (
        "hypergradient = central: torch.bfloat16 rounds by more than the step of a difference;"
        " take hypergradient = forward"
    )
    with pytest.raises(SettingError, match=message):
        steps(torch.bfloat16, 1, hypergradient="central")


@pytest.mark.parametrize("hypergradient", ["forward", "reference"])
def test_the_first_step_is_that_of_float64_but_for_rounding(hypergradient):
    sides = [steps(dtype, 1, hypergradient=hypergradient) for dtype in (torch.bfloat16, torch.float64)]
    (_, method, (found,)), (_, exact_method, (expected,)) = sides
    assert found.train == pytest.approx(expected.train, rel=0.05)
    assert found.meta == pytest.approx(expected.meta, rel=0.05)
    assert found.saliency == pytest.approx(expected.saliency, rel=0.2)
    gradient, exact_gradient = (
        torch.cat([values.grad.flatten().double() for values in m.learned]) for m in (method, exact_method)
    )
    assert torch.cosine_similarity(gradient, exact_gradient, 0) > 0.97
    assert gradient.norm() == pytest.approx(exact_gradient.norm().item(), rel=0.2)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_steps_of_a_classifier_that_is_sure_of_itself(dtype):
    """Logits some thousands apart: probabilities of exactly 0 and 1, everywhere."""
    network, method, found = steps(dtype, 2, scale=3e3)
    assert found[0].train > 100
    for values in (*network.parameters(), *method.learned):
        assert values.isfinite().all()
