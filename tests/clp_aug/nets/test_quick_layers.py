"""Quick layers are torch's layers: with and without oneDNN, for every kind of convolution that the network has."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from clp_aug.nets import quick_layers
from clp_aug.nets.efficientnet_lite import Block, SameConv2d
from clp_aug.nets.hatt_lite import start
from clp_aug.nets.quick_layers import SIX, Activated, Product, QuickBlock, runs_fused


@pytest.fixture(params=["fused", "in steps"])
def kernels(request, monkeypatch):
    """Both ways to the same numbers; the first on processors that have it."""
    if request.param == "in steps":
        monkeypatch.setattr(quick_layers, "runs_fused", lambda: False)
    elif not runs_fused():
        pytest.skip("this torch has no fused convolution for this processor")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(n, planes, height, width, seed=0):
    x = 3 * torch.randn(n, planes, height, width, generator=seeded(seed))
    return x.contiguous(memory_format=torch.channels_last)


def with_bias(layer, seed=1):
    """The layer with weights and, as folding gives it, a bias, in channels-last layout."""
    generator = seeded(seed)
    layer.weight = nn.Parameter(torch.randn(layer.weight.shape, generator=generator))
    layer.bias = nn.Parameter(torch.randn(layer.out_channels, generator=generator))
    return layer.to(memory_format=torch.channels_last)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize(
    "layer",
    [
        SameConv2d(3, 8, 3, 2),
        SameConv2d(6, 6, 3, 1, groups=6),
        SameConv2d(6, 6, 3, 2, groups=6),
        SameConv2d(6, 6, 5, 1, groups=6),
        SameConv2d(6, 6, 5, 2, groups=6),
        SameConv2d(4, 24, 1),
        nn.Conv2d(5, 7, (1, 7), padding="same"),
        nn.Conv2d(5, 7, (7, 1), padding="same"),
    ],
    ids=str,
)
@pytest.mark.parametrize("top", [None, SIX])
def test_activated_is_the_convolution_and_its_relu(layer, top):
    layer = with_bias(layer)
    quick = Activated(layer, top)
    for n, height, width in ((1, 2, 2), (1, 14, 14), (2, 8, 16), (3, 6, 2)):
        x = pictures(n, layer.in_channels, height, width)
        with torch.inference_mode():
            expected = layer(x).clamp(0, top)
            assert expected.max() > 0
            torch.testing.assert_close(quick(x), expected, atol=1e-4, rtol=1e-5)


@pytest.mark.usefixtures("kernels")
def test_activated_takes_a_layer_without_bias():
    layer = SameConv2d(4, 8, 3)
    x = pictures(1, 4, 6, 6)
    with torch.inference_mode():
        torch.testing.assert_close(Activated(layer)(x), F.relu(layer(x)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("top", [None, SIX])
def test_product_is_the_convolution(biased, layout, top):
    layer = with_bias(nn.Conv2d(5, 7, 1))
    if not biased:
        layer.bias = None
    for n, height, width in ((1, 1, 1), (1, 14, 14), (3, 2, 9)):
        x = pictures(n, 5, height, width).contiguous(memory_format=layout)
        with torch.inference_mode():
            expected = layer(x) if top is None else F.relu6(layer(x))
            found = Product(layer, top)(x)
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
            assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("planes", [8, 40], ids=["narrow", "wide"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("expansion", [1, 6])
def test_a_quick_block_is_the_block(planes, stride, expansion):
    block = Block(planes, planes, 5, stride, expansion).eval()
    start(block, seeded())
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.fill_(1 - module.eps)  # as if folded: it changes nothing
    quick = QuickBlock(block)
    x = pictures(1, planes, 12, 8)
    before = x.clone()
    with torch.inference_mode():
        torch.testing.assert_close(quick(x), block(x), atol=1e-4, rtol=1e-4)
    assert torch.equal(x, before), "the input is left as it was"
