"""WRN-28-10: its size by hand, its blocks against a plain reading of the definition."""

import torch
from torch.nn import functional as F

from clp_train.models import wide_resnet
from clp_train.models.wide_resnet import Block, WideResNet


def count_by_hand(classes):
    """Convolutions and batch norms of each group as the definition lists them: first block, then three equal ones."""
    total, before = 3 * 16 * 9, 16
    for planes in (160, 320, 640):
        first = 2 * before + before * planes * 9 + 2 * planes + planes * planes * 9 + before * planes
        other = 2 * planes + planes * planes * 9 + 2 * planes + planes * planes * 9
        total, before = total + first + 3 * other, planes
    return total + 2 * 640 + 640 * classes + classes


def test_parameter_count():
    with torch.device("meta"):
        network = WideResNet(28, 10, 10, [0.5] * 3, [0.25] * 3)
    assert sum(p.numel() for p in network.parameters()) == count_by_hand(10) == 36_479_194
    assert network.head.in_features == 640


def test_block_is_pre_activated():
    x = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    for planes, stride in ((4, 1), (8, 2)):
        block = Block(4, planes, stride).eval()
        with torch.no_grad():
            block.bn1.bias.fill_(0.3)
            active = F.relu(x / (1 + 1e-5) ** 0.5 + 0.3)
            y = F.conv2d(active, block.conv1.weight, None, stride, 1)
            y = F.conv2d(F.relu(y / (1 + 1e-5) ** 0.5), block.conv2.weight, None, 1, 1)
            expected = y + (x if planes == 4 else F.conv2d(active, block.shortcut.weight, None, stride))
            torch.testing.assert_close(block(x), expected)


def test_convolutions_start_by_fan_out():
    network = wide_resnet.build((10, 4), 10, [0.5] * 3, [0.25] * 3, torch.Generator().manual_seed(0))
    kernel = network.blocks[1].conv1.weight  # 64 -> 128, 3 x 3
    assert kernel.shape == (128, 64, 3, 3)
    assert abs(kernel.std().item() / (2 / (9 * 128)) ** 0.5 - 1) < 0.02
    assert network.head.weight.abs().max() <= 1 / 16
    assert network.head.bias.abs().max() <= 1 / 16
