"""A network over pictures takes bounded memory, and gives the same however the pictures are divided."""

import pytest
import torch
from torch import nn

from clp_train.evaluating import outputs
from clp_train.evaluating.attention import look_at
from clp_train.evaluating.metrics import predict
from clp_train.loading.features import Probe, probe_of
from clp_train.models.parts import Output
from tests.clp_train.builders import generator, network_of


class Wide(nn.Module):
    """A network whose inner array has so many numbers a pixel; it notes how many pictures it was asked of at once."""

    def __init__(self, width=7):
        super().__init__()
        self.inner = nn.Conv2d(3, width, 1)
        self.head = nn.Linear(width, 2)
        self.asked = []

    def forward(self, x):
        self.asked.append(len(x))
        features = self.inner(x).mean((2, 3))
        return Output(features, self.head(features))


def pictures_of(n, side=8):
    return torch.randint(0, 256, (n, 3, side, side), dtype=torch.uint8, generator=generator())


@pytest.mark.parametrize(
    ("rows", "most", "sizes"),
    [
        (10, 250, [10]),
        (250, 34, [32, 32, 31, 31, 31, 31, 31, 31]),
        (35, 34, [18, 17]),
        (34, 34, [34]),
        (3, 1, [1] * 3),
        (0, 5, [0]),
    ],
)
def test_rows_are_divided_evenly(rows, most, sizes):
    parts = outputs.evenly(torch.arange(rows), most)
    assert [len(part) for part in parts] == sizes
    assert torch.equal(torch.cat(list(parts)), torch.arange(rows))


def test_the_largest_array_is_measured_on_one_picture():
    network = Wide().eval()
    assert outputs.largest_output(network, torch.zeros(1, 3, 8, 8)) == 7 * 8 * 8 * 4
    assert outputs.largest_output(Wide(2).eval(), torch.zeros(1, 3, 8, 8)) == 3 * 8 * 8 * 4, "no less than the picture"
    assert not any(module._forward_hooks for module in network.modules())
    assert network.asked == [1]


@pytest.mark.parametrize(
    ("most_bytes", "asked"), [(7 * 256 * 40, [38, 37]), (7 * 256 * 5, [5] * 15), (1, [1] * 75), (10**9, [75])]
)
def test_the_pictures_at_a_time_follow_from_it(monkeypatch, most_bytes, asked):
    monkeypatch.setattr(outputs, "MOST_BYTES", most_bytes)
    network, pictures = Wide(), pictures_of(75)
    outputs.join(outputs.outputs(network, [pictures]))
    assert network.asked == [1, *asked], "one to measure"
    network.asked.clear()
    predict(network, pictures)
    assert network.asked == [1, *asked]


def test_those_of_recorded_sizes_are_not_divided():
    """Pictures of 32 x 32 pixels go through as they always did: other parts could round otherwise."""
    for model in ("resnet8", "resnet32"):
        assert outputs.most_at_once(network_of(model=model).float().eval(), pictures_of(1, 32)) == outputs.BATCH


def test_features_are_not_measured():
    probe = Probe(nn.Linear(4, 2))
    probe.forward = lambda x: sizes.append(len(x)) or Output(x, x)
    sizes = []
    outputs.join(outputs.outputs(probe, torch.zeros(600, 4).split(outputs.BATCH)))
    assert sizes == [250, 250, 100]


def test_divided_or_not_the_outputs_are_the_same(monkeypatch, loaded):
    network = network_of(2).float()
    whole = outputs.score(network, loaded.train), outputs.score_backgrounds(network, loaded.train)
    features = probe_of(network, loaded, background=True)[1]
    monkeypatch.setattr(outputs, "MOST_BYTES", 30 * 16 * 16 * 16 * 4)
    divided = outputs.score(network, loaded.train), outputs.score_backgrounds(network, loaded.train)
    for a, b in zip(whole, divided, strict=True):
        assert torch.equal(a.features, b.features)
        assert torch.equal(a.logits, b.logits)
    again = probe_of(network, loaded, background=True)[1]
    assert torch.equal(features.background.images, again.background.images)
    assert torch.equal(features.evaluation["test"].images, again.evaluation["test"].images)


def test_attention_is_divided_too(monkeypatch, loaded):
    network = network_of(2).float()
    whole = look_at(network, loaded.meta)
    monkeypatch.setattr(outputs, "MOST_BYTES", 3 * 16 * 16 * 16 * 4)
    sizes, usual = [], type(network).forward
    monkeypatch.setattr(type(network), "forward", lambda self, x: sizes.append(len(x)) or usual(self, x))
    divided = look_at(network, loaded.meta)
    assert max(sizes) == 3
    assert divided[0] == pytest.approx(whole[0])
