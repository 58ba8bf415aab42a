"""A rectangle alone against the whole picture: the same bits, for every place of it, and less work."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from clp_aug.nets import contextual_attention
from clp_aug.nets.contextual_attention import ContextualAttentionNet, Convolution, Elu, start
from clp_aug.nets.inpaint_box import DECODER, behind_border, fill_box, lone_box
from clp_aug.nets.inpaint_region import (
    ONEDNN_ABOVE,
    Region,
    Span,
    by_onednn,
    cut,
    elu_,
    plan,
    region_of,
    region_of_all,
    run_part,
    run_whole,
)
from tests.clp_aug.nets.contextual import BOXES, holes, pictures, seeded, started

here = pytest.mark.skipif(
    lone_box(torch.zeros(1, 3, 4, 4), holes((0, 0, 2, 2), height=4, width=4)) is None,
    reason="parts and wholes are compared for oneDNN on x86-64 alone",
)


def whole_way(network, picture, hole):
    """What `fill` gives without a shorter way."""
    with torch.inference_mode():
        return torch.where(hole > 0.5, network(picture, hole)[1], picture)


def smooth_net(width=8):
    network = ContextualAttentionNet(width, (2, 4, 8), smooth=True)
    start(network, seeded())
    for stage in (network.coarse, network.merging):
        torch.nn.init.normal_(stage[-1].weight, std=0.1, generator=seeded(1))
    return network.eval().to(memory_format=torch.channels_last)


@here
@pytest.mark.parametrize("box", sorted(set(BOXES) - {"nothing"}))
@pytest.mark.parametrize("layout", ["own", "tf"])
def test_every_place_of_a_rectangle_gives_the_same_bits(box, layout):
    network = started(width=8, layout=layout).to(memory_format=torch.channels_last)
    x, hole = pictures(1), holes(BOXES[box])
    assert lone_box(x, hole) == BOXES[box]
    assert torch.equal(network.fill(x, hole), whole_way(network, x, hole))


@here
@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_picture_and_rectangle_give_the_same_bits(data):
    network = smooth_net()
    height, width = (data.draw(st.integers(1, 150)) for _ in range(2))
    x0, y0 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    x1, y1 = data.draw(st.integers(x0 + 1, width)), data.draw(st.integers(y0 + 1, height))
    x, hole = pictures(1, height, width), holes((x0, y0, x1, y1), height=height, width=width)
    assert torch.equal(network.fill(x, hole), whole_way(network, x, hole))


@here
def test_the_shorter_way_computes_less():
    """Pixels that the last layers give, which are the picture's in the long way."""
    network, pixels = smooth_net(), []
    x, hole = pictures(1, 160, 160), holes((60, 60, 90, 90), height=160, width=160)
    original = torch.mkldnn_convolution

    def counted(x, weight, *arguments):
        y = original(x, weight, *arguments)
        if weight.shape[0] == 3:
            pixels.append(y.shape[2] * y.shape[3])
        return y

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "mkldnn_convolution", counted)
        network.fill(x, hole)
    assert len(pixels) == 2, "once a stage"
    assert 30 * 30 <= min(pixels) <= max(pixels) <= 36 * 36


@pytest.mark.parametrize(
    ("picture", "hole"),
    [
        (pictures(2), holes(BOXES["inside"], BOXES["left"])),
        (pictures(1), holes(BOXES["nothing"])),
        (pictures(1), torch.maximum(holes(BOXES["inside"]), holes(BOXES["left"]))),
        (pictures(1).double(), holes(BOXES["inside"]).double()),
        (pictures(2), holes(BOXES["inside"])),
    ],
    ids=["two", "nothing", "no rectangle", "double", "one hole for two"],
)
def test_all_else_takes_the_long_way(picture, hole):
    assert lone_box(picture, hole) is None


@here
def test_weights_in_another_order_take_the_long_way(monkeypatch):
    """torch's own code sums in another order for them."""
    network, x, hole = started(width=8), pictures(1), holes(BOXES["inside"])
    monkeypatch.setattr(contextual_attention, "fill_box", None)
    assert torch.equal(network.fill(x, hole), whole_way(network, x, hole))


@here
def test_without_onednn_all_takes_the_long_way():
    with torch.backends.mkldnn.flags(enabled=False):
        assert lone_box(pictures(1), holes(BOXES["inside"])) is None


def test_a_box_at_the_border_goes_on_behind_it():
    assert behind_border((3, 4, 9, 13), (13, 9), (16, 16)) == (3, 4, 16, 16)
    assert behind_border((3, 4, 8, 12), (13, 9), (16, 16)) == (3, 4, 8, 12)


@pytest.mark.parametrize(
    ("span", "grown", "halved", "shrunk"),
    [
        (Span(4, 9, 12), (3, 10), (2, 5), (5, 8)),
        (Span(0, 12, 12), (0, 12), (0, 6), (0, 12)),
        (Span(0, 5, 12), (0, 6), (0, 3), (0, 4)),
        (Span(7, 12, 12), (6, 12), (3, 6), (8, 12)),
    ],
)
def test_spans_by_hand(span, grown, halved, shrunk):
    assert span.grown()[:2] == grown
    assert span.halved()[:2] == halved
    assert span.shrunk()[:2] == shrunk
    assert span.halved().side == 6
    assert span.doubled() == Span(2 * span.low, 2 * span.high, 24)


@settings(deadline=None)
@given(st.data())
def test_what_is_planned_is_enough(data):
    """Whatever is planned to be read, what is left after it holds what is wanted."""
    with torch.device("meta"):
        decoder = list(ContextualAttentionNet(16, ()).merging)
    side = 8 * data.draw(st.integers(1, 40))
    low = data.draw(st.integers(0, side - 1))
    high = data.draw(st.integers(low + 1, side))
    wanted = Region(Span(low, high, side), Span(0, side, side))
    has = plan(decoder, wanted)[0]
    for layer, reads in zip(decoder, plan(decoder, wanted), strict=True):
        has = reads if has.whole else has
        assert has.rows.low <= reads.rows.low
        assert has.rows.high >= reads.rows.high
        rows = has.rows.doubled() if layer.layer.doubled else has.rows
        has = Region(rows.shrunk(), Span(0, rows.side, rows.side))
    assert has.rows.low <= low
    assert has.rows.high >= high


def test_layers_of_few_values_are_read_whole():
    layers = list(started(width=16).merging)[-DECODER:]
    wanted = region_of((10, 10, 12, 12), 32, 32)
    assert plan(layers, wanted)[0].whole, "at 32 pixels torch's own code computes the last layers"
    assert not plan(layers, region_of((40, 40, 50, 50), 160, 160))[0].whole
    assert by_onednn(layers[0], ONEDNN_ABOVE // 128 + 1)
    assert not by_onednn(layers[0], ONEDNN_ABOVE // 128)


@here
def test_the_rule_is_the_one_by_which_torch_chooses():
    """At the border of the rule both codes are used, and a part equals the whole where it says so."""
    layer = started(width=16).to(memory_format=torch.channels_last).coarse.conv11
    for side in range(14, 24):
        x = torch.rand(1, 64, side, side, generator=seeded()).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            by_torch = layer.convolved(x)
            by_itself = torch.mkldnn_convolution(x, layer.weight, layer.bias, (1, 1), (1, 1), (1, 1), 1)
        assert by_onednn(layer, side * side) == torch.equal(by_torch, by_itself)


@here
def test_a_run_over_whole_pictures_is_the_stack():
    network = smooth_net(16)
    x, room = pictures(1, 96, 96), torch.empty(16 * 96 * 96)
    x = torch.cat([x, x[:, :2]], 1).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        for stage in (network.coarse, network.hallucination, network.matching):
            assert torch.equal(run_whole(stage, x, room), stage(x))


@here
def test_a_part_of_a_stack_is_its_output_there():
    network, wanted = smooth_net(16), region_of((0, 37, 41, 80), 160, 160)
    features, room = torch.rand(1, 128, 40, 40, generator=seeded()), torch.empty(16 * 160 * 160)
    features = features.contiguous(memory_format=torch.channels_last)
    layers = list(network.merging)
    with torch.inference_mode():
        whole = network.merging(features)
        found, has = run_part(layers, features, region_of_all(features), plan(layers, wanted), room)
        assert torch.equal(cut(found, has, wanted), whole[:, :, 37:80, 0:41])


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_elu_in_place_is_elu(order):
    x = (4 * torch.randn(2, 5, 7, 9, generator=seeded())).contiguous(memory_format=order)
    expected, y = Elu.apply(x), x.clone(memory_format=torch.preserve_format)
    with torch.inference_mode():
        assert elu_(y, torch.full((1000,), torch.nan)) is y
    assert torch.equal(y, expected)
    torch.testing.assert_close(y, F.elu(x), atol=1e-6, rtol=0)


@here
def test_what_is_given_stays_as_it_was():
    network, x, hole = smooth_net(), pictures(1, 96, 96), holes((3, 4, 50, 60), height=96, width=96)
    before, weights = x.clone(), {name: value.clone() for name, value in network.state_dict().items()}
    filled = fill_box(network, x, (3, 4, 50, 60))
    assert torch.equal(x, before)
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())
    assert torch.equal(torch.where(hole > 0.5, x, filled), x)
    assert all(isinstance(layer, Convolution) for layer in network.merging)
