"""Eq. (6) and its gradient for the weights, of whole networks, by our functions and by plain torch; float64."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from clp_train.algorithm import second_order as module
from clp_train.algorithm.precision import compute_in
from clp_train.algorithm.saliency import SALIENCY_TARGETS, saliency
from clp_train.algorithm.second_order import input_gradient, second_order
from clp_train.models import build_model
from clp_train.models.parts import Output, frozen_batch_norm

EXACT = {"rtol": 1e-9, "atol": 1e-9}


class Depthwise(nn.Module):
    """Convolutions with a bias, in groups, and with stride and dilation; batch norm; a product of two branches."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6)
        self.depthwise, self.second = nn.Conv2d(6, 6, 3, 1, 2, dilation=2, groups=6, bias=False), nn.BatchNorm2d(6)
        self.gate, self.project = nn.Conv2d(6, 6, 1), nn.Conv2d(6, 4, 1, groups=2)
        self.head = nn.Linear(4, 5)

    def forward(self, x):
        x = F.relu6(self.norm(self.stem(x)))
        x = F.silu(self.second(self.depthwise(x)))
        features = self.project(x * self.gate(x.mean((2, 3), keepdim=True)).sigmoid() + x).mean((2, 3))
        return Output(features, self.head(features))


def a_network(name):
    generator = torch.Generator().manual_seed(0)
    if name != "depthwise":
        return build_model(name, 5, [0.5] * 3, [0.25] * 3, generator).double().train()
    network = Depthwise().double().train()
    for values in network.parameters():
        nn.init.normal_(values, 0.3, 0.5, generator=generator)
    return network


def eq_6(network, target, ours, size=16):
    """Return eq. (6) for three pictures, float64 (3,), with a graph to the weights."""
    images = torch.rand(3, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    images.requires_grad_()
    inside = torch.zeros(3, size, size, dtype=torch.bool)
    inside[:, 3:9, 2:8] = True
    if not ours:
        return saliency(images, network(images).logits, inside, torch.tensor([0, 3, 4]), target)
    twice = second_order()
    with twice:
        logits = network(images).logits
    return saliency(images, logits, inside, torch.tensor([0, 3, 4]), target, gradient=twice.input_gradient)


def same_gradients(network, target, size=16, tolerance=1e-10):
    """Assert that eq. (6) and its gradient for all weights together are plain torch's."""
    start, weights = {n: b.clone() for n, b in network.named_buffers()}, tuple(network.parameters())
    found = []
    for ours in (True, False):
        for name, buffer in network.named_buffers():
            buffer.copy_(start[name])
        terms = eq_6(network, target, ours, size)
        gradients = torch.autograd.grad(terms.sum(), weights, materialize_grads=True, allow_unused=True)
        found.append((terms, torch.cat([g.flatten() for g in gradients]), [b.clone() for b in network.buffers()]))
    (terms, gradient, buffers), (plain_terms, plain, plain_buffers) = found
    torch.testing.assert_close(terms, plain_terms, rtol=tolerance, atol=0)
    assert plain.norm() > 0
    assert (gradient - plain).norm() <= tolerance * plain.norm()
    torch.testing.assert_close(buffers, plain_buffers, **EXACT)


@pytest.mark.parametrize("name", ["resnet8", "depthwise"])
@pytest.mark.parametrize("target", SALIENCY_TARGETS)
def test_eq_6_of_a_network(name, target):
    same_gradients(a_network(name), target)


@pytest.mark.parametrize("name", ["resnet8", "depthwise"])
@pytest.mark.parametrize("change", [frozen_batch_norm, nn.Module.eval], ids=["frozen batch norm", "evaluation mode"])
def test_eq_6_by_running_statistics(name, change):
    same_gradients(change(a_network(name)), "probability")


def test_eq_6_of_a_real_depthwise_network():
    same_gradients(a_network("efficientnet-lite0-scratch"), "logit", size=32, tolerance=1e-9)


@pytest.mark.parametrize("divides", [True, False])
def test_eq_6_with_a_residual_branch_that_starts_at_zero(divides, monkeypatch):
    """Networks that begin as the identity have gamma = 0, by which nothing may be divided."""
    monkeypatch.setattr(module, "divides_by_gamma", lambda gamma: divides)
    network = a_network("resnet8")
    for block in network.groups:
        nn.init.zeros_(block.bn2.weight)
    same_gradients(network, "probability")


@pytest.mark.parametrize("name", ["resnet8", "depthwise"])
def test_eq_6_of_a_network_in_bfloat16(name):
    """Near that of float32, with gradients in float32: passes within our functions are rounded as outside of them."""
    network, found = a_network(name).float(), []
    weights = tuple(network.parameters())
    images = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(1)).requires_grad_()
    inside = torch.zeros(8, 16, 16, dtype=torch.bool)
    label = torch.arange(8) % 5
    for _ in range(2):
        twice = second_order()
        with twice:
            logits = network(images).logits
        terms = saliency(images, logits, inside, label, "logit", gradient=twice.input_gradient)
        gradients = torch.autograd.grad(terms.sum(), weights, materialize_grads=True, allow_unused=True)
        found.append(torch.cat([g.flatten() for g in gradients]))
        compute_in(network, [network.head], "bf16")
    assert found[1].dtype == torch.float32
    assert (found[1] - found[0]).norm() > 0
    assert torch.nn.functional.cosine_similarity(found[0], found[1], 0) > 0.95


@pytest.mark.parametrize("name", ["resnet8", "depthwise"])
def test_the_input_gradient_takes_no_weight_gradients(name, monkeypatch):
    network, asked, really = a_network(name), [], module._convolution_backward

    def spy(gy, x, weight, geometry, wanted):
        asked.append(wanted)
        return really(gy, x, weight, geometry, wanted)

    monkeypatch.setattr(module, "_convolution_backward", spy)
    images = torch.rand(3, 3, 8, 8, dtype=torch.float64).requires_grad_()
    twice = second_order()
    with twice:
        scalar = network(images).logits[:, 0].sum()
    convolutions = sum(isinstance(m, nn.Conv2d) for m in network.modules())
    gradient = twice.input_gradient(scalar, images)
    assert asked == [(True, False, False)] * convolutions
    assert gradient.requires_grad
    assert not twice.inputs_only
    torch.testing.assert_close(gradient, input_gradient(scalar, images), **EXACT)
    asked.clear()
    torch.autograd.grad(scalar, tuple(network.parameters()))  # the same graph still gives all of them
    assert len(asked) == convolutions
    assert all(wanted[1] for wanted in asked)


def test_after_an_error_weights_have_gradients_again():
    network, twice = a_network("resnet8"), second_order()
    images = torch.rand(3, 3, 8, 8, dtype=torch.float64).requires_grad_()
    with twice:
        scalar = network(images).logits.sum()
    with pytest.raises(RuntimeError):
        twice.input_gradient(scalar, torch.rand(2).requires_grad_())
    assert not twice.inputs_only
    assert torch.autograd.grad(scalar, network.stem.weight)[0].abs().sum() > 0
