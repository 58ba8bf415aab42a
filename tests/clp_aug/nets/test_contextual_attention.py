"""The network: hidden pixels are never read, known ones never changed; sizes, gradients, its start."""

import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from clp_aug.contract.errors import UsageError
from clp_aug.nets.contextual_attention import (
    ContextualAttentionNet,
    Elu,
    start,
)
from tests.clp_aug.nets.contextual import BOXES, HEIGHT, WIDTH, holes, parameters, pictures, seeded, started


@pytest.fixture(scope="module", params=["own", "tf"])
def network(request):
    return started(layout=request.param)


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
        ((1, ()), "width 1 of the inpainting network: expected an integer from 2 to 256"),
        (("16", ()), "width '16' of the inpainting network: expected an integer from 2 to 256"),
        ((4, (2, 0)), "dilations (2, 0) of the inpainting network: expected at most 4 integers from 1 to 16"),
        ((4, (1, 2, 3, 4, 5)), "dilations (1, 2, 3, 4, 5) of the inpainting network: expected at most 4"),
        ((4, (2,), "TF"), "unknown layout 'TF': choose one of own, tf"),
    ],
)
def test_settings_that_are_refused(arguments, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        ContextualAttentionNet(*arguments)


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
