"""A small HAttMatting: one RGB picture in, its matte out, no trimap. Attention on top of EfficientNet-Lite0.

Source: Qiao et al., CVPR 2020 (channel-wise distillation of the high-level features, spatial filtering of appearance
cues, fusion), with cues of two resolutions as in HAttMatting++ (Qiao et al., TOMM 2023). Ours: the backbone and all
widths; group norm; attention on the high-level features before they are upsampled, where they are 16 times smaller.
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from clp_aug.contract.errors import InputError
from clp_aug.nets.efficientnet_lite import MEAN, STD, EfficientNetLite0, imagenet_weights
from clp_aug.nets.reading import read_bytes
from clp_aug.nets.stored import check_values, differences, parse_stored, shapes

BLOCKS = 11  # the rest of EfficientNet-Lite0, at stride 32, holds four fifths of its parameters
HALF, QUARTER, HIGH = (0, 16), (2, 24), (10, 112)  # tapped block and its planes: at 1/2, 1/4 and 1/16 of each side
STRIDE = 16
RATES = (1, 2, 4)  # a picture of 224 px is 14 x 14 here: kernels span 3, 5 and 9; larger ones see only padding
WIDE, MIDDLE, NARROW = 64, 48, 16  # planes at 1/16, 1/4 and 1/2 of each side
STRIP = 7
GROUPS = 8
LARGEST = 2**26  # bytes of a file; its million weights are 4 MB in single precision


class Backbone(nn.Module):
    """EfficientNet-Lite0 up to block 10: float (N, 3, H, W) in [0, 1] -> its taps HALF, QUARTER and HIGH."""

    def __init__(self) -> None:
        super().__init__()
        whole = EfficientNetLite0(1)
        self.stem, self.stem_bn, self.blocks = whole.stem, whole.stem_bn, whole.blocks[:BLOCKS]

    def forward(self, x: Tensor) -> list[Tensor]:
        return taps_of(self.blocks, F.relu6(self.stem_bn(self.stem((x - MEAN) / STD))))


def taps_of(blocks: nn.Sequential, x: Tensor) -> list[Tensor]:
    """Return the outputs of blocks HALF, QUARTER and HIGH for the stem's output."""
    taps = []
    for i, block in enumerate(blocks):
        x = block(x)
        if i in (HALF[0], QUARTER[0], HIGH[0]):
            taps.append(x)
    return taps


def convolution(planes_in: int, planes: int, kernel: int, rate: int = 1) -> nn.Sequential:
    """Return convolution, group norm and ReLU; the side stays."""
    layer = nn.Conv2d(planes_in, planes, kernel, padding=rate * (kernel // 2), dilation=rate, bias=False)
    return nn.Sequential(layer, nn.GroupNorm(GROUPS, planes), nn.ReLU())


class Pyramid(nn.Module):
    """Atrous spatial pyramid pooling: 1 x 1, three dilated 3 x 3 and the whole picture; (N, 112, h, w) -> WIDE."""

    def __init__(self, planes_in: int, planes: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList([convolution(planes_in, planes, 1)])
        self.branches.extend(convolution(planes_in, planes, 3, rate) for rate in RATES)
        self.whole = nn.Conv2d(planes_in, planes, 1)
        self.merge = convolution((len(self.branches) + 1) * planes, planes, 1)

    def forward(self, x: Tensor) -> Tensor:
        whole = F.relu(self.whole(x.mean((2, 3), keepdim=True))).expand(-1, -1, *x.shape[2:])
        return self.merge(torch.cat([*(branch(x) for branch in self.branches), whole], 1))


class Distillation(nn.Module):
    """Pyramidal features distillation: channel attention. Which planes of this picture describe its object?"""

    def __init__(self, planes: int) -> None:
        super().__init__()
        self.shrink, self.grow = nn.Linear(planes, planes // 2), nn.Linear(planes // 2, planes)

    def factors(self, x: Tensor) -> Tensor:
        """Return one factor in (0, 1) per picture and plane, (N, C), for features (N, C, h, w)."""
        return torch.sigmoid(self.grow(F.relu(self.shrink(x.mean((2, 3))))))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factors(x)[:, :, None, None]


class SpatialAttention(nn.Module):
    """Where do appearance cues belong to the object? Two paths of asymmetric convolutions over the context."""

    def __init__(self, planes: int) -> None:
        super().__init__()
        lying, standing = (1, STRIP), (STRIP, 1)
        self.paths = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(planes, planes // 2, first, padding="same"),
                nn.ReLU(),
                nn.Conv2d(planes // 2, planes // 2, second, padding="same"),
                nn.ReLU(),
            )
            for first, second in ((lying, standing), (standing, lying))
        )
        self.map = nn.Conv2d(planes // 2 * 2, 1, 1)  # no ReLU after it: the map would stay above 0.5

    def forward(self, context: Tensor) -> Tensor:
        """Return the attention map, (N, 1, h, w) in (0, 1), of context (N, C, h, w)."""
        return torch.sigmoid(self.map(torch.cat([path(context) for path in self.paths], 1)))


class CueFusion(nn.Module):
    """Filter the low-level cues by the context, then join both at the resolution of the cues."""

    def __init__(self, planes_in: int, cue_planes: int, planes: int, filter_cues: bool) -> None:
        super().__init__()
        self.context = convolution(planes_in, planes, 3)  # before upsampling: fewer pixels
        self.attention = SpatialAttention(planes) if filter_cues else None
        self.cues = nn.Conv2d(cue_planes, planes, 3, padding=1, bias=False)  # without bias: filtered cues are 0
        self.fusion = convolution(2 * planes, planes, 3)

    def forward(self, high: Tensor, cues: Tensor) -> Tensor:
        """high: (N, C, h, w); cues: (N, K, H, W), larger. Returns (N, planes, H, W)."""
        context = F.interpolate(self.context(high), cues.shape[2:], mode="bilinear")
        if self.attention is not None:
            cues = cues * self.attention(context)
        return self.fusion(torch.cat([context, F.relu(self.cues(cues))], 1))


class HattLite(nn.Module):
    """Float (N, 3, H, W) in [0, 1], any size -> matte (N, 1, H, W) in [0, 1]; preprocessing inside.

    A picture's matte does not depend on the others of its batch: batch norm keeps its statistics in training, too, and
    the head has group norm. distil, filter_cues: False leaves out channel or spatial attention and changes nothing
    else.
    """

    def __init__(self, distil: bool = True, filter_cues: bool = True) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.pyramid = Pyramid(HIGH[1], WIDE)
        self.distillation = Distillation(WIDE) if distil else None
        self.coarse = CueFusion(WIDE, QUARTER[1], MIDDLE, filter_cues)
        self.fine = CueFusion(MIDDLE, HALF[1], NARROW, filter_cues)
        self.head = nn.Conv2d(NARROW, 1, 3, padding=1)

    def train(self, mode: bool = True) -> HattLite:
        super().train(mode)
        self.freeze_statistics()
        return self

    def freeze_statistics(self) -> None:
        """Keep the backbone's batch norms on their stored statistics; scale and shift still learn."""
        for module in self.backbone.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()

    def logits(self, x: Tensor) -> Tensor:
        """Return the matte before the sigmoid, (N, 1, H, W), of float (N, 3, H, W) in [0, 1].

        Sides are padded to multiples of the stride by repeating the last row and column, so that features cover the
        same pixels for any size.
        """
        height, width = x.shape[2:]
        below, right = -height % STRIDE, -width % STRIDE
        if below or right:
            x = F.pad(x, (0, right, 0, below), mode="replicate")
        half, quarter, high = self.backbone(x)
        features = self.pyramid(high)
        if self.distillation is not None:
            features = self.distillation(features)
        logits = self.head(self.fine(self.coarse(features, quarter), half))
        return F.interpolate(logits, x.shape[2:], mode="bilinear")[:, :, :height, :width]

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.logits(x))


def start(network: nn.Module, generator: torch.Generator) -> None:
    """Initialise every convolution and linear layer from `generator`: Kaiming normal by fan-in, bias 0."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def start_from_imagenet(network: HattLite, generator: torch.Generator) -> None:
    """Start the backbone from its ImageNet weights and the rest from `generator`.

    Raises UsageError if the package with the weights is not installed, InputError for another file.
    """
    start(network, generator)
    weights = imagenet_weights()
    network.backbone.load_state_dict({name: weights[name] for name in network.backbone.state_dict()})


def fold_batch_norms(network: HattLite) -> HattLite:
    """Return a copy for inference, with batch norms merged into the convolutions before them: the same mattes."""
    network = copy.deepcopy(network).eval()
    for module in list(network.backbone.modules()):
        for name, norm in list(module.named_children()):
            if isinstance(norm, nn.BatchNorm2d):
                before = name.removesuffix("_bn")
                setattr(module, before, fuse_conv_bn_eval(getattr(module, before), norm))
                setattr(module, name, nn.Identity())
    return network


def load(path: Path) -> tuple[HattLite, str]:
    """Return the network of a file for inference: like `read`, but folded and in channels-last layout."""
    network, sha256 = read(path)
    return fold_batch_norms(network).to(memory_format=torch.channels_last), sha256


def read(path: Path) -> tuple[HattLite, str]:
    """Return the network of a file from `clp-fit matte`, in evaluation mode, and the file's SHA-256.

    Raises InputError for a file that is missing, cut short, or from another network; nothing in it is executed.
    """
    what, remedy = f"matting weights {path}", "use weights of clp-fit matte"
    try:
        content = read_bytes(path, LARGEST)
    except ValueError as error:
        raise InputError(f"{what}: {error}") from None
    try:
        state, settings, sha256 = parse_stored(content)
    except ValueError as error:
        raise InputError(f"{what}: damaged ({error}); copy or fit them again") from None
    if not isinstance(settings, dict):
        raise InputError(f"{what}: its settings are no JSON object; {remedy}")
    network = HattLite(bool(settings.get("distil", True)), bool(settings.get("filter_cues", True)))
    expected = network.state_dict()
    wrong = differences(shapes(expected), shapes(state))
    if wrong:
        raise InputError(f"{what}: {wrong}; {remedy}")
    numbers = {name: value for name, value in state.items() if expected[name].is_floating_point()}
    check_values(numbers, what, "fit them again")
    network.load_state_dict(state | {name: value.float() for name, value in numbers.items()})
    return network.eval(), sha256
