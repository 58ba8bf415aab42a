"""Parameter counts as published; any input size; normalisation inside."""

import pytest
import torch

from clp_aug.contract.errors import UsageError
from clp_train.models import build_model


def build(name="resnet8", classes=10, seed=0, mean=(0.5,) * 3, std=(0.25,) * 3):
    return build_model(name, classes, mean, std, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("name", "classes", "count"),
    [("resnet32", 10, 464_154), ("resnet32", 100, 470_004), ("resnet20", 10, 269_722), ("resnet8", 10, 75_290)],
)
def test_parameter_counts(name, classes, count):
    assert sum(p.numel() for p in build(name, classes).parameters()) == count


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (32, 32), (33, 64)])
def test_any_size_gives_features_and_logits(size):
    network = build().eval()
    out = network(torch.rand(3, 3, *size))
    assert out.features.shape == (3, 64)
    assert out.logits.shape == (3, 10)
    torch.testing.assert_close(out.logits, out.features @ network.head.weight.T + network.head.bias)


def test_normalises_inside():
    plain = build(mean=(0.0,) * 3, std=(1.0,) * 3).eval()
    network = build(mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7)).eval()
    x = torch.rand(2, 3, 8, 8)
    by_hand = torch.stack([(x[:, c] - m) / s for c, (m, s) in enumerate([(0.1, 0.5), (0.2, 0.6), (0.3, 0.7)])], 1)
    torch.testing.assert_close(network(x).logits, plain(by_hand).logits)


def test_start_values_come_from_the_generator_alone():
    torch.manual_seed(1)
    a = build(seed=5).state_dict()
    torch.manual_seed(2)
    b, other = build(seed=5).state_dict(), build(seed=6).state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["stem.weight"], other["stem.weight"])


def test_unknown_model():
    with pytest.raises(
        UsageError,
        match=r"unknown model 'x': choose one of efficientnet-lite0, .*, timm:NAME, torchvision:NAME, wrn-28-10, or",
    ):
        build("x")
