"""What the training loop relies on, for every family of classifiers, each in a small member."""

import copy

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.func import functional_call

from clp_train.models import MODELS, Model, build_model, check_model, parts
from clp_train.models.parts import frozen_batch_norm, last_block
from clp_train.running.export import export_classifier

STATISTICS = ([0.4, 0.5, 0.6], [0.2, 0.25, 0.3])
FAMILIES = (
    "resnet8",
    "wrn-10-1",
    "efficientnet-lite0-scratch",
    "torchvision:resnet18",
    "torchvision:mobilenet_v3_small",
)


@pytest.fixture(scope="module", autouse=True)
def small_wide_resnet():
    """Its published size is slow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, "wrn-10-1", Model("clp_train.models.wide_resnet:build", (10, 1)))
        yield


def build(name, seed=0):
    return build_model(name, 5, *STATISTICS, torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return request.param, build(request.param)


@pytest.fixture
def network(family):
    return copy.deepcopy(family[1])


def pictures(*shape, dtype=torch.float32, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("size", [(32, 32), (64, 64), (96, 96), (37, 50)])
@pytest.mark.parametrize("training", [True, False])
def test_any_size_gives_features_and_logits(network, size, training):
    out = network.train(training)(pictures(2, 3, *size))
    assert isinstance(out, parts.Output)
    assert isinstance(network.head, nn.Linear)
    assert out.features.shape == (2, network.head.in_features)
    assert out.logits.shape == (2, 5)
    torch.testing.assert_close(out.logits, out.features @ network.head.weight.T + network.head.bias)


def test_gradients_reach_the_pictures_and_every_parameter(network):
    x = pictures(4, 3, 64, 64).requires_grad_()
    nn.functional.cross_entropy(network.train()(x).logits, torch.arange(4)).backward()
    assert x.grad.abs().sum() > 0
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert sum(bool(p.grad.abs().sum() > 0) for p in network.parameters()) > 0.95 * len(list(network.parameters()))


@pytest.mark.parametrize("training", [True, False])
def test_channels_last_gives_the_same(network, training):
    network, x = network.double().train(training), pictures(3, 3, 64, 64, dtype=torch.float64)
    expected = network(x).logits
    found = network.to(memory_format=torch.channels_last)(x.contiguous(memory_format=torch.channels_last)).logits
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_forward_mode_derivative_equals_two_reverse_ones(network):
    """In train mode, at other weights, with cloned buffers, as the meta step does; J t = d/du <J^T u, t>."""
    network, x = network.double().train(), pictures(4, 3, 64, 64, dtype=torch.float64)
    generator, before = torch.Generator().manual_seed(1), copy.deepcopy(network.state_dict())
    weights = {name: p.detach().clone().requires_grad_() for name, p in network.named_parameters()}
    tangents = {name: torch.randn(w.shape, generator=generator, dtype=w.dtype) for name, w in weights.items()}

    def at(weights):
        buffers = {name: value.clone() for name, value in network.named_buffers()}
        return functional_call(network, {**weights, **buffers}, (x,)).logits

    with torch.no_grad(), forward_ad.dual_level():
        dual = at({name: forward_ad.make_dual(w.detach(), tangents[name]) for name, w in weights.items()})
        found = forward_ad.unpack_dual(dual).tangent
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    cotangent = torch.zeros_like(found, requires_grad=True)
    pulled = torch.autograd.grad(at(weights), tuple(weights.values()), cotangent, create_graph=True)
    expected = torch.autograd.grad(pulled, cotangent, tuple(tangents.values()))[0]
    assert expected.norm() > 0
    assert (found - expected).norm() < 1e-9 * expected.norm()


def test_saliency_has_a_gradient(network):
    """Eq. (6) needs the derivative of an input gradient with respect to the weights."""
    network, x = network.double().train(), pictures(3, 3, 64, 64, dtype=torch.float64).requires_grad_()
    weight = network.head.weight

    def saliency():
        gradient = torch.autograd.grad(network(x).logits[:, 0].sum(), x, create_graph=True)[0]
        return gradient.square().sum()

    first = next(iter(network.parameters()))
    inner, outer = torch.autograd.grad(saliency(), (first, weight))
    assert inner.abs().sum() > 0
    value, step = saliency().item(), 1e-6 * outer / outer.norm() * weight.detach().norm()
    with torch.no_grad():
        weight += step
    torch.testing.assert_close(saliency().item() - value, (outer * step).sum().item(), rtol=1e-4, atol=0.0)


@pytest.mark.parametrize("name", FAMILIES)
def test_start_values_come_from_the_generator_alone(name):
    torch.manual_seed(11)
    before = torch.get_rng_state()
    a = build(name, seed=5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(12)
    same, other = build(name, seed=5).state_dict(), build(name, seed=6).state_dict()
    a = a.state_dict()
    assert all(torch.equal(a[key], same[key]) for key in a)
    assert not torch.equal(a["head.weight"], other["head.weight"])
    kernels = [key for key in a if a[key].ndim == 4 and "normalise" not in key]
    assert kernels
    assert not any(torch.equal(a[key], other[key]) for key in kernels)


def test_passes_draw_no_random_numbers(network):
    before, x = torch.get_rng_state(), pictures(4, 3, 32, 32)
    network.train()
    torch.testing.assert_close(network(x).logits, network(x).logits, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), before)


def test_export_gives_the_same_logits(network, tmp_path):
    export_classifier(network, 32, tmp_path / "classifier.pt2")
    exported = torch.export.load(tmp_path / "classifier.pt2").module()
    x = pictures(3, 3, 32, 32)
    torch.testing.assert_close(exported(x), network.eval()(x).logits)


def leaves(network, x):
    """Return the output of every layer that has parameters of its own, by name."""
    found, handles = {}, []
    for name, module in network.named_modules():
        if list(module.parameters(recurse=False)):
            handles.append(module.register_forward_hook(lambda m, i, o, name=name: found.update({name: o.detach()})))
    with torch.no_grad():
        found["logits"] = network(x).logits
    for handle in handles:
        handle.remove()
    return found


def test_nothing_before_the_last_block_depends_on_it(network):
    names, x = last_block(network), pictures(2, 3, 64, 64)
    before = leaves(network.eval(), x)
    parameters, generator = dict(network.named_parameters()), torch.Generator().manual_seed(3)
    assert {"head.weight", "head.bias"} < set(names) < set(parameters)
    assert any(parameters[name].ndim == 4 for name in names)
    with torch.no_grad():
        for name in names:
            parameters[name] += 0.1 * torch.randn(parameters[name].shape, generator=generator)
    after = leaves(network, x)
    inside = {name.rpartition(".")[0] for name in names}
    assert all(torch.equal(before[name], after[name]) for name in before.keys() - inside - {"logits"})
    assert not torch.equal(before["logits"], after["logits"])


def test_last_block_by_name():
    block = [f"groups.2.{layer}" for layer in ("conv1.weight", "bn1.weight", "bn1.bias")]
    block += [f"groups.2.{layer}" for layer in ("conv2.weight", "bn2.weight", "bn2.bias")]
    assert last_block(build("resnet8")) == (*block, "head.weight", "head.bias")
    wide = last_block(build("wrn-10-1"))
    assert wide[-4:] == ("bn.weight", "bn.bias", "head.weight", "head.bias")
    assert {name.split(".")[1] for name in wide if name.startswith("blocks")} == {"2"}
    tops = {name.rsplit(".", 1)[0] for name in last_block(build("efficientnet-lite0-scratch"))}
    layers = ("expand", "expand_bn", "depthwise", "depthwise_bn", "project", "project_bn")
    assert tops == {*(f"blocks.15.{layer}" for layer in layers), "top", "top_bn", "head"}


def test_frozen_batch_norm(network):
    held = list(network.parameters())
    assert frozen_batch_norm(network) is network
    network.train()
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert not any(module.training for module in norms)
    assert network.training
    assert network.head.training
    before = copy.deepcopy(dict(network.named_buffers()))
    x = pictures(4, 3, 64, 64)
    together = network(x).logits
    torch.testing.assert_close(network(x[:1]).logits, together[:1], rtol=1e-4, atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in network.named_buffers())
    together.sum().backward()
    assert all(module.weight.grad is not None for module in norms)
    assert all(a is b for a, b in zip(held, network.parameters(), strict=True))
    again = copy.deepcopy(network).train()
    assert not any(module.training for module in again.modules() if isinstance(module, nn.BatchNorm2d))


def test_check_builds_nothing_and_finds_what_is_there():
    for name in ("resnet32", "wrn-28-10", "torchvision:resnext50_32x4d"):
        assert check_model(name) is None
