"""The last map of a network in each of its layouts, against networks whose map must be at a known place."""

import math
from typing import NamedTuple

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision import models

from clp_train.evaluating.gradcam import gradcam, why_no_map
from clp_train.evaluating.maps import CHANNELS_FIRST, CHANNELS_LAST, ON_A_GRID, Place, grid_of, last_place, seen
from clp_train.models import build_model
from clp_train.models.from_torchvision import TorchvisionClassifier
from clp_train.models.untouched import untouched
from tests.clp_train.builders import generator

PATCH, PLANES, CLASSES = 4, 6, 3


class Out(NamedTuple):
    features: torch.Tensor
    logits: torch.Tensor


class Patches(nn.Module):
    """Patches, a linear layer on each of them, and their mean, with the channels where `axes` says.

    prefixes: tokens of no place before the others, which do not count.
    """

    def __init__(self, axes, prefixes=0, planes=PLANES):
        super().__init__()
        self.axes, self.prefixes = axes, prefixes
        self.patches = nn.Conv2d(3, planes, PATCH, PATCH)
        self.mix = nn.Conv2d(planes, planes, 1) if axes == CHANNELS_FIRST else nn.Linear(planes, planes)
        self.last = nn.Identity()
        self.head = nn.Linear(planes, CLASSES)

    def weigh(self, x):
        """Return the same function of patches in each layout."""
        x = self.patches(x)
        if self.axes == CHANNELS_FIRST:
            return self.last(self.mix(x).relu())
        if self.axes == CHANNELS_LAST:
            return self.last(self.mix(x.permute(0, 2, 3, 1)).relu())
        tokens = self.mix(x.flatten(2).transpose(1, 2)).relu()
        before = tokens.new_ones((len(tokens), self.prefixes, tokens.shape[2]))
        return self.last(torch.cat([before, tokens], 1))

    def forward(self, x):
        x = self.weigh(x)
        places = {CHANNELS_FIRST: (2, 3), CHANNELS_LAST: (1, 2), ON_A_GRID: 1}[self.axes]
        features = (x[:, self.prefixes :] if self.axes == ON_A_GRID else x).mean(places)
        return Out(features, self.head(features))


class ClassToken(nn.Module):
    """A class token that attends to all patches, alone read at the end, as in a vision transformer."""

    def __init__(self, registers=0):
        super().__init__()
        self.patches = nn.Conv2d(3, PLANES, PATCH, PATCH)
        self.first = nn.Parameter(torch.randn(1, 1 + registers, PLANES, generator=generator(3)))
        self.norm = nn.LayerNorm(PLANES)
        self.qkv, self.out = nn.Linear(PLANES, 3 * PLANES), nn.Linear(PLANES, PLANES)
        self.mlp = nn.Sequential(nn.Linear(PLANES, 8), nn.GELU(), nn.Linear(8, PLANES))
        self.head = nn.Linear(PLANES, CLASSES)

    def tokens(self, x):
        return torch.cat([self.first.expand(len(x), -1, -1), self.patches(x).flatten(2).transpose(1, 2)], 1)

    def behind_norm(self, tokens, normed):
        query, key, value = self.qkv(normed).chunk(3, -1)
        x = tokens + self.out((query @ key.transpose(1, 2) / math.sqrt(PLANES)).softmax(-1) @ value)
        features = (x + self.mlp(x))[:, 0]
        return Out(features, self.head(features))

    def forward(self, x):
        tokens = self.tokens(x)
        return self.behind_norm(tokens, self.norm(tokens))


def placed(network, image):
    with untouched(network) as run:
        return last_place(network, run, seen(network, run, image), image)


def started(network, seed=0):
    """Start all weights from a seed."""
    with torch.no_grad():
        for values in network.parameters():
            values.normal_(generator=generator(seed))
    return network


def bright(row, column, height=16, width=24):
    """Return a black picture with one white patch."""
    image = torch.zeros(1, 3, height, width)
    image[..., row * PATCH : (row + 1) * PATCH, column * PATCH : (column + 1) * PATCH] = 1
    return image


def detector(axes, prefixes=0, planes=PLANES):
    """Return a network that is positive where a patch is white, and zero elsewhere."""
    network = Patches(axes, prefixes, planes)
    with torch.no_grad():
        for name, values in network.named_parameters():
            values.fill_(0 if name.endswith("bias") else 0.1)
    return network


LAYOUTS = [(CHANNELS_FIRST, 0), (CHANNELS_LAST, 0), (ON_A_GRID, 0), (ON_A_GRID, 1), (ON_A_GRID, 5)]


@pytest.mark.parametrize(("axes", "prefixes"), LAYOUTS)
def test_the_map_is_where_the_picture_is_bright(axes, prefixes):
    network = detector(axes, prefixes)
    assert placed(network, bright(0, 0)) == (Place("last", axes, (4, 6), prefixes), "")
    for row in range(4):
        for column in range(6):
            found = gradcam(network, bright(row, column), torch.tensor([1]))[0]
            peak = divmod(int(found.argmax()), 24)
            assert (peak[0] // PATCH, peak[1] // PATCH) == (row, column)
            near = F.pad(torch.ones(PATCH, PATCH), (column * PATCH, 20 - column * PATCH, row * PATCH, 12 - row * PATCH))
            near = F.max_pool2d(near[None], PATCH + 1, 1, PATCH // 2)[0]  # bilinear: half a patch around it
            assert found[near == 0].abs().max() == 0


@pytest.mark.parametrize("seed", range(5))
def test_each_layout_gives_the_same_map(seed):
    reference = started(Patches(CHANNELS_FIRST), seed)
    images = torch.rand(3, 3, 16, 24, generator=generator(seed))
    expected = gradcam(reference, images, torch.tensor([0, 1, 2]))
    for axes, prefixes in LAYOUTS[1:]:
        network = Patches(axes, prefixes)
        network.load_state_dict({name: value.reshape(network.state_dict()[name].shape)
                                 for name, value in reference.state_dict().items()})  # fmt: skip
        torch.testing.assert_close(gradcam(network, images, torch.tensor([0, 1, 2])), expected)
    assert expected.max() > 0


def test_as_many_channels_as_rows_and_columns():
    """Four planes of 4 x 4: nothing in the shape tells where the channels are, so that a map would be a guess."""
    image = torch.rand(1, 3, 16, 16, generator=generator())
    assert placed(started(Patches(CHANNELS_FIRST, planes=4)), image)[0] == Place("last", CHANNELS_FIRST, (4, 4))
    network = started(Patches(CHANNELS_LAST, planes=4))
    assert why_no_map(network, image).startswith("it ends in tokens")
    assert placed(started(Patches(CHANNELS_LAST, planes=5)), image)[0] == Place("last", CHANNELS_LAST, (4, 4))


@pytest.mark.parametrize("registers", [0, 3])
def test_a_class_token_is_explained_by_what_it_attends_to(registers):
    network, images = ClassToken(registers), torch.rand(3, 3, 16, 24, generator=generator())
    label = torch.tensor([2, 0, 1])
    assert placed(network, images[:1]) == (Place("norm", ON_A_GRID, (4, 6), 1 + registers), "")
    tokens = network.tokens(images)
    normed = network.norm(tokens).detach().requires_grad_()
    network.behind_norm(tokens, normed).logits.gather(1, label[:, None]).sum().backward()
    places = slice(1 + registers, None)
    weights = normed.grad[:, places].mean(1, keepdim=True)
    evidence = (weights * normed.detach()[:, places]).sum(2).relu().reshape(3, 1, 4, 6)
    expected = F.interpolate(evidence, (16, 24), mode="bilinear", align_corners=False)[:, 0]
    torch.testing.assert_close(gradcam(network, images, label), expected)
    assert expected.max() > 0


@pytest.mark.parametrize(
    ("tokens", "grids", "size", "grid"),
    [
        (16, [(8, 8), (4, 4)], (32, 32), (4, 4)),
        (17, [(8, 8), (4, 4)], (32, 32), (4, 4)),
        (64, [(8, 8), (4, 4)], (32, 32), (8, 8)),
        (9, [(2, 2)], (32, 32), (2, 2)),
        (3, [(2, 2)], (32, 32), None),
        (24, [(4, 6)], (16, 24), (4, 6)),
        (25, [], (32, 32), (5, 5)),
        (26, [], (32, 32), (5, 5)),
        (27, [], (32, 32), None),
        (24, [], (16, 24), (4, 6)),
        (1, [], (16, 16), None),
    ],
)
def test_grids_of_tokens(tokens, grids, size, grid):
    assert grid_of(tokens, grids, *size) == grid


def transformer():
    return models.VisionTransformer(32, 8, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=8)


def windows():
    return models.SwinTransformer([4, 4], 8, [1, 1], [1, 2], [2, 2])


def convnext():
    blocks = models.convnext.CNBlockConfig
    return models.ConvNeXt([blocks(8, 16, 1), blocks(16, None, 1)])


@pytest.mark.parametrize(
    ("make", "place"),
    [
        (transformer, Place("body.encoder.layers.encoder_layer_1.ln_1", ON_A_GRID, (4, 4), 1)),
        (windows, Place("body.permute", CHANNELS_FIRST, (4, 4))),
        (convnext, Place("body.features", CHANNELS_FIRST, (4, 4))),
    ],
)
def test_networks_of_torchvision(make, place):
    network = TorchvisionClassifier(make(), CLASSES, [0.5] * 3, [0.25] * 3)
    assert placed(network, torch.rand(1, 3, 32, 32, generator=generator())) == (place, "")


@pytest.mark.parametrize("make", [windows, convnext])
def test_one_pixel_is_no_map(make):
    network = TorchvisionClassifier(make(), CLASSES, [0.5] * 3, [0.25] * 3)
    assert why_no_map(network, torch.rand(1, 3, 8, 8)) == "its last feature map is one pixel"


@pytest.mark.parametrize(
    ("name", "size", "place"),
    [
        ("test_vit", 64, Place("body.blocks.5.norm1", ON_A_GRID, (4, 4), 1)),
        ("test_vit2", 64, Place("body.norm", ON_A_GRID, (4, 4), 1)),
        ("test_convnext", 64, Place("body.norm_pre", CHANNELS_FIRST, (2, 2))),
        ("test_convnext", 32, "its last feature map is one pixel"),
        ("test_resnet", 64, Place("body.layer4", CHANNELS_FIRST, (2, 2))),
        ("test_mambaout", 64, Place("body.stages", CHANNELS_LAST, (2, 2))),
        ("mobilenetv3_small_050", 64, Place("body.blocks", CHANNELS_FIRST, (2, 2))),
    ],
)
def test_networks_of_timm(name, size, place):
    pytest.importorskip("timm")
    network = build_model(f"timm:{name}", CLASSES, [0.5] * 3, [0.25] * 3, generator(), size=size)
    found, reason = placed(network, torch.rand(1, 3, size, size, generator=generator()))
    assert place == (found or reason)
