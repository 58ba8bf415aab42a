"""Grad-CAM against a network whose maps are known in closed form, and no trace left behind."""

from typing import NamedTuple

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from clp_aug.contract.errors import UsageError
from clp_train.evaluating.gradcam import gradcam, why_no_map
from clp_train.evaluating.maps import map_layers
from clp_train.models import build_model
from clp_train.models.untouched import untouched
from tests.clp_train.builders import generator


class Out(NamedTuple):
    logits: torch.Tensor
    features: torch.Tensor | None = None


class Flat(nn.Module):
    """Convolution, ReLU in place, global average, linear: the gradient at a map is the head's weight / (h w)."""

    def __init__(self, stride=1, planes=5, classes=3):
        super().__init__()
        self.conv = nn.Conv2d(3, planes, 3, stride, 1)
        self.act = nn.ReLU(inplace=True)
        self.head = nn.Linear(planes, classes)

    def forward(self, x):
        return Out(self.head(self.act(self.conv(x)).mean((2, 3))))


class Deep(nn.Module):
    """Batch norm, dropout, a module that is used twice, a pooling module, and two heads."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4))
        self.again = nn.ReLU(inplace=True)
        self.last = nn.Conv2d(4, 6, 3, 1, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        x = self.again(self.last(self.again(self.stem(x))))
        return Out(self.head(self.drop(self.pool(x).flatten(1))))


def state_of(network):
    return {n: v.clone() for n, v in network.state_dict().items()}


def test_against_the_closed_form():
    torch.manual_seed(0)
    for stride in (1, 2, 4):
        network, images, label = Flat(stride), torch.rand(7, 3, 9, 12), torch.randint(3, (7,))
        maps = F.relu(network.conv(images))
        size = maps.shape[2:]
        evidence = torch.einsum("nk,nkhw->nhw", network.head.weight[label], maps) / size.numel()
        expected = F.interpolate(evidence.relu()[:, None], (9, 12), mode="bilinear", align_corners=False)[:, 0]
        for layer in (None, "act"):
            found = gradcam(network, images, label, layer)
            torch.testing.assert_close(found, expected)
            assert found.dtype == torch.float32
            assert not found.requires_grad
        assert (expected.amax((1, 2)) > 0).any()


def test_an_earlier_layer_against_plain_backward():
    """The layer before an in-place ReLU: its output, not what the ReLU makes of it."""
    torch.manual_seed(1)
    network, images, label = Flat(), torch.rand(4, 3, 6, 6), torch.tensor([0, 1, 2, 0])
    maps = network.conv(images).detach().requires_grad_()
    logits = network.head(F.relu(maps).mean((2, 3)))
    logits.gather(1, label[:, None]).sum().backward()
    expected = (maps.grad.mean((2, 3), keepdim=True) * maps).sum(1).relu().detach()
    torch.testing.assert_close(gradcam(network, images, label, "conv"), expected)


def test_the_last_maps_before_pooling_are_found():
    network = Deep()
    with untouched(network) as run:
        names = map_layers(network, run, torch.rand(1, 3, 8, 8))
    assert names == ["stem.0", "stem.1", "stem", "again", "last", "again"]
    resnet = build_model("resnet8", 2, (0.5,) * 3, (0.2,) * 3, generator())
    with untouched(resnet) as run:
        assert map_layers(resnet, run, torch.rand(1, 3, 16, 16))[-1] == "groups"


def test_a_module_that_is_called_twice_means_its_last_call():
    torch.manual_seed(2)
    network, images, label = Deep().eval(), torch.rand(3, 3, 8, 8), torch.tensor([0, 3, 1])
    maps = network.last(F.relu(network.stem(images))).relu()
    weights = network.head.weight[label] / maps.shape[2:].numel()
    evidence = torch.einsum("nk,nkhw->nhw", weights, maps).relu()[:, None]
    expected = F.interpolate(evidence, (8, 8), mode="bilinear", align_corners=False)[:, 0]
    torch.testing.assert_close(gradcam(network, images, label), expected)


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_of_the_network_changes(fails):
    torch.manual_seed(3)
    network = Deep().train()
    network.stem[1].eval()  # a frozen batch norm inside a network in training
    network.head.weight.requires_grad_(False)
    network.last.weight.grad = torch.ones_like(network.last.weight)
    images = torch.rand(4, 3, 8, 8, requires_grad=True)
    before, modes = state_of(network), [m.training for m in network.modules()]
    needs = [p.requires_grad for p in network.parameters()]
    random = torch.get_rng_state()
    with torch.no_grad():
        if fails:
            with pytest.raises(UsageError, match=r"unknown layer 'pool'.*choose one of again, last, stem"):
                gradcam(network, images, torch.zeros(4, dtype=torch.long), "pool")
        else:
            gradcam(network, images, torch.zeros(4, dtype=torch.long))
        assert not torch.is_grad_enabled()
    assert all((network.state_dict()[n] == v).all() for n, v in before.items())
    assert [m.training for m in network.modules()] == modes
    assert [p.requires_grad for p in network.parameters()] == needs
    assert (network.last.weight.grad == 1).all()
    assert all(p.grad is None for n, p in network.named_parameters() if n != "last.weight")
    assert images.grad is None
    assert not any(m._forward_hooks for m in network.modules())
    assert torch.equal(torch.get_rng_state(), random)


def test_raw_maps_do_not_depend_on_the_batch():
    torch.manual_seed(4)
    network, images, label = Deep().train(), torch.rand(5, 3, 8, 8), torch.arange(5) % 4
    together = gradcam(network, images, label)
    alone = torch.cat([gradcam(network, images[i : i + 1], label[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(together, alone)
    with torch.no_grad():
        network.head.weight.mul_(3)
    torch.testing.assert_close(gradcam(network, images, label), 3 * together)


def test_evidence_against_the_label_gives_a_zero_map():
    network = Flat(classes=2)
    with torch.no_grad():
        network.head.weight[0] = 1
        network.head.weight[1] = -1
        network.conv.bias.fill_(2)
    images = torch.rand(2, 3, 6, 6)
    maps = gradcam(network, images, torch.tensor([0, 1]))
    assert maps[0].sum() > 0
    assert (maps[1] == 0).all()


def test_a_network_without_maps_is_one_line():
    class Dense(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(12, 2)

        def forward(self, x):
            return Out(self.head(x.flatten(1)))

    with pytest.raises(UsageError, match=r"^Dense: no module gives a map larger than 1 x 1 for pictures of 2 x 2; "):
        gradcam(Dense(), torch.rand(3, 3, 2, 2), torch.zeros(3, dtype=torch.long))


class Net(nn.Module):
    """Parts in a row under their names, global pooling, and a last layer."""

    def __init__(self, planes=8, **parts):
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)
        self.parts, self.head = tuple(parts), nn.Linear(planes, 3)

    def forward(self, x):
        for name in self.parts:
            x = self.get_submodule(name)(x)
        features = x.mean((2, 3)) if x.ndim == 4 else x.mean(1)
        return Out(self.head(features), features)


class ChannelsLast(nn.Module):
    """A linear layer over the channels of a map, which come last within it; back: they are put in front again."""

    def __init__(self, back):
        super().__init__()
        self.linear, self.back = nn.Linear(8, 8), back

    def forward(self, x):
        x = self.linear(x.permute(0, 2, 3, 1))
        return x.permute(0, 3, 1, 2) if self.back else x.flatten(1, 2)


class Squeeze(nn.Module):
    """One factor a plane, as squeeze-and-excitation has it, and a convolution behind it."""

    def __init__(self):
        super().__init__()
        self.factor, self.conv = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)

    def forward(self, x):
        return self.conv(x * self.factor(x.mean((2, 3), keepdim=True)).sigmoid())


def conv(stride=2):
    return nn.Conv2d(3, 8, 3, stride, 1)


class Repeated(nn.Module):
    """Tokens of a map, three times, so that they lie on no grid."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x):
        return self.linear(torch.cat([x.flatten(2).transpose(1, 2)] * 3, 1))


ONE_PIXEL = "its last feature map is one pixel"
TOKENS = "it ends in tokens that lie on no grid, or of which none but a class token counts"
ENDS = {
    "map": (Net(a=conv()), "", "a"),
    "behind a relu": (Net(a=conv(), b=nn.ReLU(inplace=True)), "", "b"),
    "squeezed": (Net(a=conv(), b=Squeeze()), "", "b"),
    "linear layers inside": (Net(a=conv(), b=ChannelsLast(True), c=nn.Identity()), "", "c"),
    "pooled to several": (Net(a=conv(), b=nn.AdaptiveAvgPool2d(3)), "", "b"),
    "one pixel": (Net(a=conv(), b=nn.Conv2d(8, 8, 4)), ONE_PIXEL, "a"),
    "one pixel of linear layers": (Net(a=conv(8), b=ChannelsLast(True)), ONE_PIXEL, None),
    "one pixel that is spread": (Net(a=conv(), b=nn.MaxPool2d(4), c=nn.AdaptiveAvgPool2d(7)), ONE_PIXEL, "c"),
    "tokens": (Net(a=conv(), b=ChannelsLast(False)), "", "b"),
    "tokens on no grid": (Net(a=nn.Conv2d(3, 8, 3, padding=1), b=Repeated()), TOKENS, None),
    "weighed behind pooling": (Net(a=conv(), b=nn.AdaptiveAvgPool2d(1), c=nn.Conv2d(8, 8, 1)), "", "a"),
    "one pixel by a window": (Net(a=conv(), b=nn.MaxPool2d(4), c=nn.Conv2d(8, 8, 1)), ONE_PIXEL, "a"),
}


@pytest.mark.parametrize("case", ENDS)
def test_networks_whose_last_features_are_no_map(case):
    """layer: what a map is made of nevertheless, as a method may ask for; None for a refusal."""
    network, reason, layer = ENDS[case]
    images, label = torch.rand(2, 3, 8, 8, generator=generator()), torch.tensor([0, 1])
    assert why_no_map(network, images) == reason
    if layer is None:
        with pytest.raises(UsageError, match=f"^Net: {reason}; Grad-CAM needs a larger map, choose another model or"):
            gradcam(network, images, label)
    else:
        assert torch.equal(gradcam(network, images, label), gradcam(network, images, label, layer))


@pytest.mark.parametrize(
    ("name", "size", "reason"),
    [
        ("resnet8", 8, ""),
        ("resnet8", 33, ""),
        ("efficientnet-lite0-scratch", 32, ONE_PIXEL),
        ("efficientnet-lite0-scratch", 64, ""),
        ("torchvision:resnet18", 32, ONE_PIXEL),
        ("torchvision:resnet18", 64, ""),
        ("torchvision:shufflenet_v2_x0_5", 32, ONE_PIXEL),
        ("torchvision:mobilenet_v3_small", 64, ""),
        ("torchvision:regnet_y_400mf", 64, ""),
    ],
)
def test_known_networks(name, size, reason):
    network = build_model(name, 3, [0.5] * 3, [0.25] * 3, generator())
    images = torch.rand(1, 3, size, size, generator=generator())
    assert why_no_map(network, images) == reason
    if not reason:
        with untouched(network) as run:
            last = map_layers(network, run, images)[-1]
        assert torch.equal(
            gradcam(network, images, torch.tensor([1])), gradcam(network, images, torch.tensor([1]), last)
        )
