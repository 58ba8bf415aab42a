"""Where a classifier looks on the meta originals: counts, and a network whose map is known."""

import pytest
import torch
from torch import nn

from clp_train.evaluating.attention import SHOWN, look_at
from clp_train.models.parts import Output
from clp_train.pictures.types import masks
from tests.clp_train.builders import config_of, load


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
