"""Where the layers of each layout pad, and which pixels they take, against formulas one output at a time."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from clp_aug.nets.contextual_attention import (
    Convolution,
    Layer,
)
from clp_aug.nets.layouts import LAYOUTS, aligned_sources, resize_nearest
from tests.clp_aug.nets.contextual import BOXES, holes, pictures, seeded, started


def same_by_definition(x, kernel, stride):
    """TensorFlow's SAME, one output at a time: ceil(n / stride) outputs, the padding split with the rest at the end."""
    k, sides = kernel.shape[-1], x.shape
    out = [-(-n // stride) for n in sides]
    before = [max((o - 1) * stride + k - n, 0) // 2 for o, n in zip(out, sides, strict=True)]
    result = np.zeros(out)
    for i, j in np.ndindex(*out):
        for u, v in np.ndindex(k, k):
            y, z = i * stride + u - before[0], j * stride + v - before[1]
            if 0 <= y < sides[0] and 0 <= z < sides[1]:
                result[i, j] += kernel[u, v] * x[y, z]
    return result


@pytest.mark.parametrize(
    "layer", [Layer("", 1, 5, activation=None), Layer("", 1, activation=None), Layer("", 1, stride=2, activation=None)]
)
def test_tf_pads_as_defined(layer):
    part = Convolution(1, layer, LAYOUTS["tf"]).double()
    nn.init.zeros_(part.bias)
    x = np.random.default_rng(0).normal(size=(6, 8))
    found = part(torch.from_numpy(x)[None, None]).detach().numpy()[0, 0]
    expected = same_by_definition(x, part.weight.detach().numpy()[0, 0], layer.stride)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_own_pads_alike_on_both_sides():
    layer = Layer("", 2, stride=2, activation=None)
    own, tf = (Convolution(3, layer, LAYOUTS[name]) for name in ("own", "tf"))
    tf.load_state_dict(own.state_dict())
    x = torch.rand(1, 3, 8, 6, generator=seeded())
    torch.testing.assert_close(own(x), F.conv2d(x, own.weight, own.bias, 2, 1))
    assert not torch.allclose(own(x), tf(x))


def test_layouts_differ_in_the_layers_that_halve_alone():
    own, tf = started(), started(layout="tf")
    assert all(torch.equal(a, b) for a, b in zip(own.parameters(), tf.parameters(), strict=True))
    differing = set()
    for (name, one), (_, other) in zip(own.named_modules(), tf.named_modules(), strict=True):
        if isinstance(one, Convolution):
            x = torch.rand(1, one.in_channels, 8, 8, generator=seeded())
            if not torch.allclose(one(x), other(x)):
                differing.add(name)
    halve = {f"{part}conv{i}_downsample" for part in ("coarse.", "hallucination.", "matching.pm") for i in (2, 4)}
    assert differing == halve


def half_away_from_zero(i, before, after):
    """round(i * (before - 1) / (after - 1)) in single precision, TensorFlow's way."""
    scale = np.float32(before - 1) / np.float32(max(after - 1, 1))
    return int(np.floor(np.float64(np.float32(i) * np.float32(scale)) + 0.5))


@pytest.mark.parametrize("after", [1, 2, 3, 4, 5, 8, 16, 27, 28, 40, 64])
@pytest.mark.parametrize("factor", [0.25, 0.5, 2])
def test_aligned_sources(after, factor):
    before = max(int(after / factor), 1)
    expected = [half_away_from_zero(i, before, after) for i in range(after)]
    assert aligned_sources(before, after).tolist() == expected
    assert expected[-1] == (before - 1 if after > 1 else 0), "corners lie on corners"


@pytest.mark.parametrize("before", range(1, 70))
def test_doubling_is_the_same_with_aligned_corners(before):
    assert aligned_sources(before, 2 * before).tolist() == [i // 2 for i in range(2 * before)]


def test_sources_by_hand():
    assert aligned_sources(4, 8).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert aligned_sources(8, 4).tolist() == [0, 2, 5, 7]
    assert aligned_sources(6, 3).tolist() == [0, 3, 5], "5 / 2 is rounded up"
    x = torch.arange(8.0)[None, None, None].expand(1, 1, 2, 8)
    assert resize_nearest(x, 1, 4, LAYOUTS["own"]).flatten().tolist() == [0, 2, 4, 6]
    assert resize_nearest(x, 1, 4, LAYOUTS["tf"]).flatten().tolist() == [0, 2, 5, 7]


def test_tf_takes_and_gives_planes_in_reverse():
    bgr, rgb = started(layout="tf"), started(layout="tf")
    rgb.layout = rgb.layout._replace(bgr=False)
    x, hole = pictures(2), holes(BOXES["inside"], BOXES["left"])
    with torch.no_grad():
        for found, expected in zip(bgr(x, hole), rgb(x.flip(1), hole), strict=True):
            torch.testing.assert_close(found, expected.flip(1), atol=1e-6, rtol=0)
