"""Attention against one picture at a time, layouts against their formulas; hidden pixels are never read, known ones
never changed."""

import json
import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from clp_aug.contract.errors import InputError, UsageError
from clp_aug.nets.attention_layer import contextual_attention, diagonal_sum
from clp_aug.nets.contextual_attention import (
    ContextualAttentionNet,
    Convolution,
    Elu,
    Layer,
    differences,
    load,
    start,
)
from clp_aug.nets.layouts import LAYOUTS, aligned_sources, resize_nearest

HEIGHT, WIDTH = 48, 64
BOXES = {  # x0, y0, x1, y1
    "inside": (20, 14, 37, 33),
    "one pixel": (16, 24, 17, 25),
    "left": (0, 5, 17, 38),
    "right": (41, 5, 64, 38),
    "top": (13, 0, 50, 19),
    "bottom": (13, 25, 50, 48),
    "corner": (39, 28, 64, 48),
    "whole": (0, 0, 64, 48),
    "nothing": (0, 0, 0, 0),
}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def started(width=4, dilations=(2, 4), layout="own"):
    network = ContextualAttentionNet(width, dilations, layout)
    start(network, seeded())
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.uniform_(parameter, -0.1, 0.1, generator=seeded(len(name)))
    return network.eval()


@pytest.fixture(scope="module", params=["own", "tf"])
def network(request):
    return started(layout=request.param)


def pictures(n, height=HEIGHT, width=WIDTH, dtype=torch.float32):
    return torch.rand(n, 3, height, width, generator=seeded(1), dtype=dtype)


def holes(*boxes, height=HEIGHT, width=WIDTH, dtype=torch.float32):
    """One box a picture: (N, 1, H, W), 1 inside."""
    hole = torch.zeros(len(boxes), 1, height, width, dtype=dtype)
    for n, (x0, y0, x1, y1) in enumerate(boxes):
        hole[n, :, y0:y1, x0:x1] = 1
    return hole


def parameters(module):
    return sum(p.numel() for p in module.parameters())


# sizes


@pytest.mark.parametrize(
    ("width", "dilations", "count"),
    [(32, (2, 4, 8, 16), 3_601_542), (16, (2, 4), 756_806), (12, (2, 4), 427_206), (16, (2, 4, 8), 830_662)],
)
def test_parameters(width, dilations, count):
    with torch.device("meta"):
        assert parameters(ContextualAttentionNet(width, dilations)) == count


def test_parts_of_the_full_network():
    with torch.device("meta"):
        whole = ContextualAttentionNet(32, (2, 4, 8, 16))
    assert len(whole.state_dict()) == 84
    assert {name: parameters(part) for name, part in whole.named_children()} == {
        "coarse": 1_448_227,
        "hallucination": 880_480,
        "matching": 400_800,
        "pasting": 295_168,
        "merging": 576_867,
    }


@pytest.mark.parametrize("rates", [(), (2,), (2, 4, 8), (2, 4, 8, 16)])
def test_fewer_rates_leave_the_last_dilated_layers_out(rates):
    with torch.device("meta"):
        network = ContextualAttentionNet(4, rates)
    for part in (network.coarse, network.hallucination):
        found = {name: layer.dilation[0] for name, layer in part.named_children() if "atrous" in name}
        assert found == {f"conv{7 + i}_atrous": rate for i, rate in enumerate(rates)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, ()), "width 1 of the inpainting network: expected an integer of 2 to 256"),
        (("16", ()), "width '16' of the inpainting network: expected an integer of 2 to 256"),
        ((4, (2, 0)), "dilations (2, 0) of the inpainting network: expected at most 4 integers of 1 to 16"),
        ((4, (1, 2, 3, 4, 5)), "dilations (1, 2, 3, 4, 5) of the inpainting network: expected at most 4"),
        ((4, (2,), "TF"), "unknown layout 'TF': choose one of own, tf"),
    ],
)
def test_settings_that_are_refused(arguments, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        ContextualAttentionNet(*arguments)


# attention


def nearest_by_formula(x, height, width, aligned):
    """One pixel at a time."""

    def source(i, before, after):
        if not aligned:
            return math.floor(i * before / after)
        return math.floor(i * (before - 1) / max(after - 1, 1) + 0.5)

    rows = [source(i, x.shape[2], height) for i in range(height)]
    columns = [source(j, x.shape[3], width) for j in range(width)]
    out = x.new_empty(*x.shape[:2], height, width)
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            out[:, :, i, j] = x[:, :, row, column]
    return out


def patches_of(x, side, step, count_y, count_x):
    """Patches as kernels, (L, C, side, side), of one picture (1, C, h, w) with a border of one zero."""
    x = F.pad(x, (1, 1, 1, 1))[0]
    return torch.stack(
        [x[:, step * i : step * i + side, step * j : step * j + side] for i in range(count_y) for j in range(count_x)]
    )


def attention_one_at_a_time(features, hole, aligned):
    """The published form: patches are kernels, of a convolution that compares and of a transposed one that pastes."""
    (height, width), results = features.shape[2:], []
    rows, columns = height // 2, width // 2
    identity = torch.eye(3, dtype=features.dtype)[None, None]
    for f, hidden in zip(features.split(1), hole.split(1), strict=True):
        hidden = nearest_by_formula(hidden, height, width, aligned)
        hidden = nearest_by_formula(hidden, rows, columns, aligned)
        valid = torch.stack([patch.sum() == 0 for patch in patches_of(hidden, 3, 1, rows, columns)]).to(f.dtype)
        small = nearest_by_formula(f, rows, columns, aligned)
        kernels = patches_of(small, 3, 1, rows, columns)
        kernels = torch.stack([kernel / max(kernel.square().sum().sqrt(), 1e-4) for kernel in kernels])
        scores = F.conv2d(small, kernels, padding=1)  # 1 x keys x rows x columns of queries
        table = F.conv2d(scores.reshape(1, 1, rows * columns, rows * columns), identity, padding=1)
        table = table.reshape(rows, columns, rows, columns).permute(1, 0, 3, 2)
        table = F.conv2d(table.reshape(1, 1, rows * columns, rows * columns), identity, padding=1)
        table = table.reshape(columns, rows, columns, rows).permute(1, 0, 3, 2)
        table = table.reshape(1, rows * columns, rows, columns) * valid[None, :, None, None]
        weights = torch.softmax(10 * table, 1) * valid[None, :, None, None]
        pasted = F.conv_transpose2d(weights, patches_of(f, 4, 2, rows, columns), stride=2, padding=1)
        results.append(pasted / 4)
    return torch.cat(results)


@pytest.mark.parametrize("layout", ["own", "tf"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_attention_is_the_one_of_each_picture(layout, dtype, tolerance):
    boxes = BOXES.values()
    features = torch.rand(len(boxes), 5, HEIGHT // 4, WIDTH // 4, generator=seeded(), dtype=dtype) / 2
    hole = holes(*boxes, dtype=dtype)
    found = contextual_attention(features, hole, LAYOUTS[layout])
    expected = attention_one_at_a_time(features, hole, LAYOUTS[layout].aligned)
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)
    assert found.isfinite().all()
    assert not found[list(BOXES).index("whole")].any(), "no key, no features"
    assert found[list(BOXES).index("inside")].abs().max() > 0.1


@settings(max_examples=15, deadline=None)
@given(
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(0, 999),
    st.sampled_from(["own", "tf"]),
    st.sampled_from([1, 1e-5]),
)
def test_attention_of_other_sizes(rows, columns, seed, layout, scale):
    """And of features so small that their norm is not divided by."""
    generator = seeded(seed)
    features = torch.randn(2, 3, 2 * rows, 2 * columns, generator=generator, dtype=torch.float64) * scale
    hole = (torch.rand(2, 1, 8 * rows, 8 * columns, generator=generator) < 0.1).double()
    found = contextual_attention(features, hole, LAYOUTS[layout])
    torch.testing.assert_close(
        found, attention_one_at_a_time(features, hole, LAYOUTS[layout].aligned), atol=1e-12, rtol=0
    )


def test_attention_copies_the_patch_that_looks_alike():
    """A texture of period 4 under a hole comes back: its patches elsewhere have the highest scores."""
    texture = torch.rand(1, 6, 4, 4, generator=seeded()) * 3
    features = texture.repeat(1, 1, 6, 6)
    hole = holes((40, 40, 56, 56), height=96, width=96)
    found = contextual_attention(features, hole, LAYOUTS["own"])[:, :, 10:14, 10:14]
    torch.testing.assert_close(found, features[:, :, 10:14, 10:14], atol=0.02, rtol=0)


def test_gradients_of_attention():
    features = torch.rand(2, 2, 4, 6, generator=seeded(), dtype=torch.float64, requires_grad=True)
    hole = holes((3, 2, 9, 5), (0, 0, 24, 16), height=16, width=24, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda f: contextual_attention(f, hole, LAYOUTS["own"]), (features,))


def test_gradients_are_finite_where_nothing_is_seen_or_known():
    features = torch.zeros(2, 3, 4, 4, requires_grad=True)
    hole = holes((0, 0, 0, 0), (0, 0, 16, 16), height=16, width=16)
    contextual_attention(features, hole, LAYOUTS["own"]).sum().backward()
    assert features.grad.isfinite().all()


def test_diagonal_sum_is_a_convolution_with_the_identity():
    scores = torch.randn(2, 7, 7, generator=seeded(), dtype=torch.float64)
    expected = F.conv2d(scores[:, None], torch.eye(3, dtype=torch.float64)[None, None], padding=1)[:, 0]
    torch.testing.assert_close(diagonal_sum(scores), expected)


# layouts


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


# the network


def test_elu():
    x = torch.linspace(-9, 9, 181, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(Elu.apply(x), F.elu(x), atol=1e-15, rtol=0)
    torch.testing.assert_close(Elu.apply(x.float()), F.elu(x.float()), atol=1e-7, rtol=0)
    assert torch.autograd.gradcheck(Elu.apply, (x[x != 0],))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 5), (32, 32), (25, 35)])
def test_any_size(network, height, width):
    x, hole = pictures(2, height, width), torch.zeros(2, 1, height, width)
    hole[0, :, : height // 2 + 1] = 1
    hole[1, :, :, : width // 2 + 1] = 1
    with torch.no_grad():
        for out in network(x, hole):
            assert out.shape == x.shape
            assert (out >= 0).all()
            assert (out <= 1).all()


@pytest.mark.parametrize("box", ["inside", "bottom", "right", "corner", "whole"])
def test_a_padded_picture_is_the_picture_with_its_border_repeated(network, box):
    """And what lies behind a hole's border is as hidden as the hole."""
    x, hole = pictures(1, 46, 61), holes(BOXES[box], height=46, width=61)
    padding = (0, 3, 0, 2)
    whole, whole_hole = F.pad(x, padding, mode="replicate"), F.pad(hole, padding, mode="replicate")
    assert whole.shape[2:] == (HEIGHT, WIDTH)
    assert (whole_hole.sum() == hole.sum()) == (box == "inside")
    with torch.no_grad():
        for found, expected in zip(network(x, hole), network(whole, whole_hole), strict=True):
            torch.testing.assert_close(found, expected[..., :46, :61], atol=1e-6, rtol=0)


def test_each_picture_has_its_own_hole(network):
    network = network.double()
    x, hole = pictures(len(BOXES), dtype=torch.float64), holes(*BOXES.values(), dtype=torch.float64)
    with torch.no_grad():
        together = network(x, hole)
        for n in range(len(BOXES)):
            alone = network(x[n : n + 1], hole[n : n + 1])
            for part in range(2):
                torch.testing.assert_close(together[part][n], alone[part][0], atol=1e-12, rtol=0)
    network.float()


def test_one_hole_for_all_is_refused(network):
    with pytest.raises(ValueError, match=re.escape("hole (1, 1, 48, 64) for pictures (2, 3, 48, 64): expected one")):
        network(pictures(2), holes(BOXES["inside"]))


def inputs_of(layer, call):
    seen = []
    hook = layer.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    call()
    hook.remove()
    return seen[0]


def test_what_both_stages_see(network):
    x, hole = pictures(2), holes(BOXES["inside"], BOXES["right"])
    with torch.no_grad():
        first = inputs_of(network.coarse[0], lambda: network(x, hole))
        coarse, _ = network(x, hole)
        second = inputs_of(network.hallucination[0], lambda: network(x, hole))
        third = inputs_of(network.matching[0], lambda: network(x, hole))
    planes = x.flip(1) if network.layout.bgr else x
    known, ones = planes * 2 - 1, torch.ones_like(hole)
    torch.testing.assert_close(first, torch.cat([known * (1 - hole), ones, hole], 1))
    drawn = (coarse.flip(1) if network.layout.bgr else coarse) * 2 - 1
    torch.testing.assert_close(second, torch.cat([drawn * hole + known * (1 - hole), ones, hole], 1))
    assert torch.equal(second, third)


def test_only_pmconv6_has_a_relu(network):
    assert [name for name, m in network.named_modules() if getattr(m, "layer", None) and m.layer.activation is F.relu] \
        == ["matching.pmconv6"]  # fmt: skip
    assert {name for name, m in network.named_modules() if getattr(m, "layer", None) and m.layer.activation is None} \
        == {"coarse.conv17", "merging.allconv17"}  # fmt: skip


@pytest.mark.parametrize("box", BOXES)
def test_known_pixels_stay_and_hidden_ones_are_never_read(network, box):
    x, hole = pictures(2), holes(BOXES[box], BOXES["inside"])
    hidden = (hole > 0.5).expand_as(x)
    found = network.fill(x, hole)
    assert torch.equal(found[~hidden], x[~hidden])
    assert found.isfinite().all()
    assert not found.requires_grad
    for other in (1 - x, torch.full_like(x, torch.nan)):
        same = network.fill(torch.where(hidden, other, x), hole)
        assert torch.equal(same, found)
    assert torch.equal(network.fill(x, hole > 0.5), found)
    if box not in ("nothing", "whole"):
        changed = network.fill(torch.where(hidden, x, 1 - x), hole)
        assert not torch.equal(changed[:1][hidden[:1]], found[:1][hidden[:1]]), "what is known matters"


def test_fill_is_the_refined_picture_in_the_hole(network):
    x, hole = pictures(1), holes(BOXES["corner"])
    with torch.inference_mode():
        refined = network(x, hole)[1]
    torch.testing.assert_close(network.fill(x, hole), refined * hole + x * (1 - hole), atol=0, rtol=0)


def test_clipped_pixels_get_no_gradient():
    network = started()
    nn.init.constant_(network.merging.allconv17.bias, 9.0)
    nn.init.constant_(network.coarse.conv17.bias, -9.0)
    coarse, refined = network(pictures(1), holes(BOXES["inside"]))
    assert (refined == 1).all()
    assert (coarse == 0).all()
    (coarse.sum() + refined.sum()).backward()
    assert not any(p.grad.any() for p in network.parameters())


@pytest.mark.parametrize("box", ["inside", "whole", "one pixel"])
def test_every_parameter_learns(box):
    network = started().train()
    coarse, refined = network(pictures(2), holes(BOXES[box], BOXES[box]))
    (coarse.square().mean() + refined.square().mean()).backward()
    assert all(p.grad.isfinite().all() for p in network.parameters())
    silent = {name for name, p in network.named_parameters() if not p.grad.any()}
    matching = {f"matching.{name}" for name, _ in network.matching.named_parameters()}
    assert silent == (matching | {"pasting.pmconv9.weight"} if box == "whole" else set()), "no key: zeros, no gradient"


def test_channels_last_is_the_same(network):
    x, hole = pictures(2), holes(BOXES["inside"], BOXES["top"])
    with torch.no_grad():
        expected = network(x, hole)
        network.to(memory_format=torch.channels_last)
        found = network(x.contiguous(memory_format=torch.channels_last), hole)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


@pytest.mark.parametrize("width", [4, 16])
def test_the_signal_neither_fades_nor_grows_at_the_start(width):
    """Seventeen layers without normalisation: what fades on the way lets no gradient back."""
    network, seen = started(width, (2, 4, 8)), []
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda _, __, out: seen.append(out.square().mean().sqrt().item()))
    for seed in range(3):
        coarse = torch.rand(2, 3, 8, 8, generator=seeded(seed))
        smooth = torch.nn.functional.interpolate(coarse, (64, 64), mode="bicubic").clamp(0, 1)
        network(smooth, holes((20, 20, 44, 40), (5, 30, 30, 60), height=64, width=64))
    assert min(seen) > 0.2
    assert max(seen) < 3


def test_start_depends_on_the_generator_alone():
    networks = [ContextualAttentionNet(4, (2,)) for _ in range(3)]
    before = torch.get_rng_state()
    for network, seed in zip(networks, (0, 0, 1), strict=True):
        start(network, seeded(seed))
    assert torch.equal(torch.get_rng_state(), before)
    one, same, other = (network.state_dict() for network in networks)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["coarse.conv1.weight"], other["coarse.conv1.weight"])
    assert not any(value.any() for name, value in one.items() if name.endswith("bias"))


# files


SETTINGS = {"width": 4, "dilations": [2, 4], "steps": 7}


@pytest.fixture
def written(tmp_path):
    """A file as the fit writes it, in half precision."""
    path, network = tmp_path / "w.safetensors", started()
    save_file({n: v.half() for n, v in network.state_dict().items()}, path, {"settings": json.dumps(SETTINGS)})
    return path, network


def test_load(written):
    path, network = written
    before = torch.get_rng_state()
    found, sha256 = load(path)
    assert torch.equal(torch.get_rng_state(), before)
    assert (found.width, found.dilations, found.layout, found.training) == (4, (2, 4), LAYOUTS["own"], False)
    assert len(sha256) == 64
    for name, value in network.state_dict().items():
        assert torch.equal(found.state_dict()[name], value.half().float()), name
    x, hole = pictures(2), holes(BOXES["inside"], BOXES["top"])
    torch.testing.assert_close(found.fill(x, hole), network.fill(x, hole), atol=0.01, rtol=0)


REMEDY = "use weights of clp-fit inpainter"


@pytest.mark.parametrize(
    ("change", "metadata", "message"),
    [
        (lambda s: s.pop("coarse.conv17.bias"), SETTINGS, f"'coarse.conv17.bias' is missing, expected (3,); {REMEDY}"),
        (lambda s: s.update(more=torch.zeros(2)), SETTINGS, f"'more' is (2,), expected nothing; {REMEDY}"),
        (
            lambda s: s.update({"coarse.conv17.bias": torch.zeros(4)}),
            SETTINGS,
            f"'coarse.conv17.bias' is (4,), expected (3,); {REMEDY}",
        ),
        (
            lambda s: s["pasting.pmconv9.bias"].fill_(float("nan")),
            SETTINGS,
            f"pasting.pmconv9.bias holds NaN, infinity or no floating point; {REMEDY}",
        ),
        (
            lambda s: s.update({"coarse.conv17.bias": torch.zeros(3, dtype=torch.int32)}),
            SETTINGS,
            f"coarse.conv17.bias holds NaN, infinity or no floating point; {REMEDY}",
        ),
        (lambda s: None, SETTINGS | {"width": 6}, "'coarse.conv1.weight' is (4, 5, 5, 5), expected (6, 5, 5, 5), "),
        (lambda s: None, SETTINGS | {"width": 10**9}, "dilations of a network (width 1000000000 of the inpainting"),
        (lambda s: None, SETTINGS | {"dilations": [99]}, "dilations of a network (dilations (99,) of the inpainting"),
        (lambda s: None, {}, f"settings without width and dilations of a network ('width'); {REMEDY}"),
        (lambda s: None, [4], "settings without width and dilations of a network"),
        (
            lambda s: s.update({"netG.coarse_generator.conv1.conv.bias": torch.zeros(2)}),
            SETTINGS,
            "a published checkpoint, not of clp-fit inpainter; give it to --cagan-weights",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused(written, change, metadata, message):
    path, _ = written
    state = load_file(path)
    change(state)
    save_file(state, path, {"settings": json.dumps(metadata)})
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        load(path)
    assert str(caught.value).startswith(f"inpainting weights {path}: ")
    assert "\n" not in str(caught.value)


def test_files_that_are_no_weights_are_refused(written):
    path, _ = written
    message = (
        r"w\.safetensors: damaged, or not of clp-fit inpainter \(.*\); copy or fit them again, or give a published"
    )
    for content in (path.read_bytes()[:-7], b"hello", b""):
        path.write_bytes(content)
        with pytest.raises(InputError, match=message):
            load(path)
    path.unlink()
    with pytest.raises(InputError, match=r"w\.safetensors: cannot read \(No such file or directory\)"):
        load(path)


def test_differences_are_counted():
    wanted = dict.fromkeys("abcde", (1,))
    assert differences(wanted, wanted) == ""
    assert differences(wanted, wanted | {"e": (2,)}) == "'e' is (2,), expected (1,)"
    assert differences(wanted, {"x\ny": ()}) == (
        "'a' is missing, expected (1,), 'b' is missing, expected (1,), 'c' is missing, expected (1,), and 3 more"
    )
    assert differences({}, {"x\ny": ()}) == r"'x\ny' is (), expected nothing"
