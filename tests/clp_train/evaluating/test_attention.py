"""Where a classifier looks on the meta originals: shares by hand, and a network whose map is known."""

import pytest
import torch
from torch import nn

from clp_train.evaluating.attention import SHOWN, attention, inside_share, look_at, pointing
from clp_train.models.parts import Output
from clp_train.pictures.types import masks
from tests.clp_train.builders import config_of, generator, load


class InTheBox(nn.Module):
    """Its only map is the picture itself; class 1's logit is the mean of it."""

    def __init__(self):
        super().__init__()
        self.maps = nn.Conv2d(3, 1, 1, bias=False)
        nn.init.ones_(self.maps.weight)
        self.head = nn.Linear(1, 2)
        nn.init.ones_(self.head.weight)

    def forward(self, x):
        features = self.maps(x).mean((2, 3))
        return Output(features, self.head(features))


def test_white_boxes_on_black_are_looked_at_in_full(demo_shard):
    meta = load(config_of(meta=demo_shard)).meta
    inside = masks(meta.box, *meta.images.shape[2:])
    meta.images[...] = inside[:, None] * 255
    found, looks = look_at(InTheBox(), meta)
    originals = int((meta.kind == 0).sum())
    assert found["maps"] == originals
    assert found["inside"] == pytest.approx(1, abs=1e-6)
    assert found["pointing"] == 1
    assert found["zero"] == 0
    assert len(looks) == min(SHOWN, originals)
    assert torch.equal(looks[0].box, meta.box[0])
    assert looks[0].image.dtype == torch.uint8


def test_shares_by_hand():
    maps = torch.zeros(4, 2, 3)
    maps[0] = torch.tensor([[1.0, 2, 0], [3, 0, 2]])
    maps[1] = 1
    maps[3, 0, 0] = 0.5
    inside = torch.zeros(4, 2, 3, dtype=torch.bool)
    inside[:3, :, :2] = True  # the left two columns; nothing of the last
    assert inside_share(maps, inside)[[0, 1, 3]].tolist() == pytest.approx([6 / 8, 4 / 6, 0])
    assert inside_share(maps, inside)[2].isnan()
    assert pointing(maps, inside).tolist() == [True, True, False, False]
    found = attention(maps, inside)
    assert (found.maps, found.zero) == (4, 1)
    assert found.inside == pytest.approx((6 / 8 + 4 / 6) / 3)
    assert found.pointing == pytest.approx(2 / 3)
    assert found.area == pytest.approx(3 * 4 / 24)


def test_a_flat_map_scores_the_area_of_the_box():
    inside = torch.rand(20, 7, 9, generator=generator()) < 0.4
    found = attention(torch.full((20, 7, 9), 0.3), inside)
    assert found.inside == pytest.approx(found.area)


def test_maps_that_are_all_zero_have_no_share():
    found = attention(torch.zeros(3, 4, 4), torch.ones(3, 4, 4, dtype=torch.bool))
    assert (found.inside, found.pointing, found.zero) == (None, None, 3)


class OnePixel(InTheBox):
    """Its last map is one pixel."""

    def __init__(self):
        super().__init__()
        self.maps = nn.Conv2d(3, 1, 16)


def test_a_network_without_a_map_has_no_shares_and_says_why(demo_shard):
    meta = load(config_of(meta=demo_shard)).meta
    network = OnePixel().train()
    found, looks = look_at(network, meta)
    with_maps = look_at(InTheBox(), meta)[0]
    assert looks == []
    assert found == {
        "inside": None, "pointing": None, "area": with_maps["area"], "maps": 0, "zero": 0,
        "no_map": "its last feature map is one pixel",
    }  # fmt: skip
    assert "no_map" not in with_maps
