"""Inpainting in two stages, coarse and refined, the second with contextual attention.

Source: Yu et al., CVPR 2018: layers, widths and names as in the authors' code, version 1. Ours: the width and the rates
are settings; the stages learn the difference to a smooth start; one hole per picture; any size; hidden pixels are never
read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clp_aug.contract.errors import InputError, UsageError, pick
from clp_aug.nets.attention_layer import contextual_attention
from clp_aug.nets.inpaint_box import fill_box, lone_box
from clp_aug.nets.layouts import LAYOUTS, Layout, padded
from clp_aug.nets.reading import first_line, read_bytes
from clp_aug.nets.smooth_fill import smooth_fill
from clp_aug.nets.stored import check_values, differences, parse_stored, shapes

INPUTS = 5  # the picture with its hole at 0, a plane of ones that shows the border under zero padding, the hole
FULL_WIDTH, FULL_RATES = 32, (2, 4, 8, 16)
LARGEST_WIDTH, LARGEST_RATE = 256, 16
ELU_GAIN = 1.245  # of N(0, 1): 1 / sqrt(E[ELU(x)^2])
LARGEST = 2**30  # bytes of a file; the widest network has 230 million weights


class Elu(torch.autograd.Function):
    """ELU by exp: torch's own uses expm1, which took two thirds of this network's time on a CPU.

    Near 0 exp loses relative, but not absolute precision. It saves only its output for the backward pass.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = x.clamp(max=0).exp_().sub_(1)
        torch.maximum(x, y, out=y)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return gradient * (y.clamp(max=0) + 1)


class Layer(NamedTuple):
    """One convolution: its published name and planes; doubled: the side is doubled first, by copies."""

    name: str
    planes: int
    kernel: int = 3
    stride: int = 1
    rate: int = 1
    activation: Callable[..., Any] | None = Elu.apply
    doubled: bool = False


class Convolution(nn.Conv2d):
    """A convolution and its activation, padded with zeros so that the side stays, or halves at stride 2."""

    def __init__(self, planes_in: int, layer: Layer, layout: Layout) -> None:
        even = layer.rate * (layer.kernel // 2) if layer.stride == 1 else 0
        super().__init__(planes_in, layer.planes, layer.kernel, layer.stride, even, layer.rate)
        self.layer, self.layout = layer, layout

    def forward(self, x: Tensor) -> Tensor:
        x = self.convolved(x)
        return x if self.layer.activation is None else self.layer.activation(x)

    def convolved(self, x: Tensor) -> Tensor:
        """Return the layer's output before its activation."""
        if self.layer.doubled:
            x = F.interpolate(x, scale_factor=2, mode="nearest")  # the same pixels with aligned corners
        if self.layer.stride > 1:
            x = F.pad(x, self.layout.padding)
        return super().forward(x)


def stack(planes_in: int, layers: Iterable[Layer], layout: Layout) -> nn.Sequential:
    """Return convolutions in a row, each under its name."""
    convolutions = nn.Sequential()
    for layer in layers:
        convolutions.add_module(layer.name, Convolution(planes_in, layer, layout))
        planes_in = layer.planes
    return convolutions


def encoder(prefix: str, width: int, second: int, fourth: int) -> list[Layer]:
    """Return the layers down to a quarter of each side and 4 * width planes; branches differ in the halving layers."""
    return [
        Layer(f"{prefix}conv1", width, kernel=5),
        Layer(f"{prefix}conv2_downsample", second, stride=2),
        Layer(f"{prefix}conv3", 2 * width),
        Layer(f"{prefix}conv4_downsample", fourth, stride=2),
        Layer(f"{prefix}conv5", 4 * width),
        Layer(f"{prefix}conv6", 4 * width),
    ]


def dilated(width: int, rates: tuple[int, ...]) -> list[Layer]:
    """Return one layer per rate; fewer rates leave out the last layers."""
    return [Layer(f"conv{7 + i}_atrous", 4 * width, rate=rate) for i, rate in enumerate(rates)]


def decoder(prefix: str, width: int) -> list[Layer]:
    """Return the layers back to the side of the picture and its three planes."""
    return [
        Layer(f"{prefix}conv11", 4 * width),
        Layer(f"{prefix}conv12", 4 * width),
        Layer(f"{prefix}conv13", 2 * width, doubled=True),
        Layer(f"{prefix}conv14", 2 * width),
        Layer(f"{prefix}conv15", width, doubled=True),
        Layer(f"{prefix}conv16", width // 2),
        Layer(f"{prefix}conv17", 3, activation=None),
    ]


class ContextualAttentionNet(nn.Module):
    """Float picture (N, 3, H, W) in [0, 1] and hole (N, 1, H, W) -> the coarse and the refined picture.

    width: planes of the first layer, 2 to 256, published 32; dilations: rates of the dilated layers, at most four of 1
    to 16, published (2, 4, 8, 16); layout: "own" for weights trained in PyTorch, "tf" for converted ones; smooth: the
    coarse stage gets the hole filled smoothly, not with 0, and both stages add to their input, only in the hole. A
    small network on a CPU needs a start that is no worse than a classical fill. Raises UsageError for other settings.
    """

    def __init__(self, width: int, dilations: tuple[int, ...], layout: str = "own", smooth: bool = False) -> None:
        super().__init__()
        check_settings(width, dilations)
        self.smooth = smooth
        self.width, self.dilations, self.layout = width, tuple(dilations), pick(LAYOUTS, layout, "layout")
        rates = dilated(width, self.dilations)
        coarse = encoder("", width, 2 * width, 4 * width) + rates + decoder("", width)
        matching = encoder("pm", width, width, 4 * width)
        matching[-1] = matching[-1]._replace(activation=F.relu)  # compared features are not negative
        self.coarse = stack(INPUTS, coarse, self.layout)
        self.hallucination = stack(INPUTS, encoder("", width, width, 2 * width) + rates, self.layout)
        self.matching = stack(INPUTS, matching, self.layout)
        self.pasting = stack(4 * width, [Layer(f"pmconv{i}", 4 * width) for i in (9, 10)], self.layout)
        self.merging = stack(8 * width, decoder("all", width), self.layout)

    def forward(self, picture: Tensor, hole: Tensor) -> tuple[Tensor, Tensor]:
        """Return the coarse and the refined picture, both float (N, 3, H, W) in [0, 1]; without a smooth start known
        pixels are redrawn, too.

        picture: float (N, 3, H, W) in [0, 1]; hole: (N, 1, H, W), hidden above 0.5, one for each picture. Both outputs
        are clipped, as published: values outside the range of pixels get no gradient. Raises ValueError for a hole of
        another shape.
        """
        if hole.shape != (picture.shape[0], 1, *picture.shape[2:]):
            raise ValueError(f"hole {tuple(hole.shape)} for pictures {tuple(picture.shape)}: expected one for each")
        height, width = picture.shape[2:]
        hidden = hole > 0.5
        known = torch.where(
            hidden, 0, self.flipped(picture) * 2 - 1
        )  # before padding, because padding repeats the border
        known, mask = padded(known), padded(hidden.to(picture.dtype))

        frame = torch.cat([torch.ones_like(mask), mask], 1)
        seen = smooth_fill(known, mask) if self.smooth else known
        coarse = self.coarse(torch.cat([seen, frame], 1))
        coarse = (seen + mask * coarse if self.smooth else coarse).clamp(-1, 1)
        filled = torch.where(mask > 0.5, coarse, known)
        pasted = torch.cat([filled, frame], 1)
        attended = self.pasting(contextual_attention(self.matching(pasted), mask, self.layout))
        refined = self.merging(torch.cat([self.hallucination(pasted), attended], 1))
        refined = (filled + mask * refined if self.smooth else refined).clamp(-1, 1)
        coarse, refined = ((self.flipped(x) + 1) / 2 for x in (coarse, refined))
        return coarse[:, :, :height, :width], refined[:, :, :height, :width]

    def flipped(self, x: Tensor) -> Tensor:
        """Return RGB in the order of the layout's planes, or such planes as RGB."""
        return x.flip(1) if self.layout.bgr else x

    @torch.no_grad()
    def fill(self, picture: Tensor, hole: Tensor) -> Tensor:
        """Return the picture with its hole filled; every other pixel is bit-identical. Arguments: see `forward`.

        One picture with a rectangle on a CPU, the usual case of a worker, takes a faster path to the same bits.
        """
        first = self.coarse[0].get_parameter("weight")
        in_order = first.is_contiguous(memory_format=torch.channels_last)  # the memory format that `put` makes
        box = lone_box(picture, hole) if in_order else None
        if box:
            return fill_box(self, picture, box)
        return torch.where(hole > 0.5, self(picture, hole)[1], picture)


def check_settings(width: int, dilations: tuple[int, ...]) -> None:
    """Raise UsageError for a width or rates that such a network cannot have."""
    if not (isinstance(width, int) and 2 <= width <= LARGEST_WIDTH):
        raise UsageError(f"width {width!r} of the inpainting network: expected an integer from 2 to {LARGEST_WIDTH}")
    whole = all(isinstance(rate, int) and 1 <= rate <= LARGEST_RATE for rate in dilations)
    if not whole or len(dilations) > len(FULL_RATES):
        raise UsageError(
            f"dilations {dilations!r} of the inpainting network: expected at most {len(FULL_RATES)} integers from 1 to"
            f" {LARGEST_RATE}"
        )


def start(network: nn.Module, generator: torch.Generator) -> None:
    """Initialise every convolution and linear layer from `generator`, with bias 0, so that ELU keeps the variance.

    Source: He et al. 2015, with ELU's gain. With the published Glorot start the signal falls to a thousandth after
    these seventeen layers without normalisation, and for thousands of steps only the last bias learns. A network with a
    smooth start adds nothing to it at first: its last layers are 0.
    """
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            bound = ELU_GAIN * math.sqrt(3 / module.weight[0].numel())  # uniform within it: variance gain^2 / fan in
            nn.init.uniform_(module.weight, -bound, bound, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    if isinstance(network, ContextualAttentionNet) and network.smooth:
        for stage in (network.coarse, network.merging):
            nn.init.zeros_(stage[-1].get_parameter("weight"))


def is_published(names: Iterable[str]) -> bool:
    """Return whether tensors have the names of a published checkpoint."""
    return any("coarse_generator." in name or name.startswith("inpaint_net/") for name in names)


def load(path: Path) -> tuple[ContextualAttentionNet, str]:
    """Return the network of a file from `clp-fit inpainter`, in evaluation mode, and the file's SHA-256.

    Its width and dilations are in the file's settings. Raises InputError for a file that is missing, cut short, or from
    another network; nothing in it is executed.
    """
    what, remedy = f"inpainting weights {path}", "use weights of clp-fit inpainter"
    try:
        content = read_bytes(path, LARGEST)
    except ValueError as error:
        raise InputError(f"{what}: {error}") from None
    try:
        state, settings, sha256 = parse_stored(content)
    except ValueError as error:
        raise InputError(
            f"{what}: damaged, or not from clp-fit inpainter ({error}); copy or fit them again, or give a published"
            " checkpoint to --cagan-weights"
        ) from None
    if is_published(state):
        raise InputError(f"{what}: a published checkpoint, not from clp-fit inpainter; give it to --cagan-weights")
    try:
        with torch.device("meta"):  # shapes cost nothing there, whatever the settings are
            width, dilations = settings["width"], tuple(settings["dilations"])
            network = ContextualAttentionNet(width, dilations, smooth=settings.get("smooth") is True)
    except (UsageError, KeyError, TypeError) as error:
        raise InputError(
            f"{what}: settings without width and dilations of a network ({first_line(error)}); {remedy}"
        ) from None
    wrong = differences(shapes(network.state_dict()), shapes(state))
    if wrong:
        raise InputError(f"{what}: {wrong}; {remedy}")
    check_values(state, what, remedy)
    put(network, state)
    return network, sha256


def put(network: ContextualAttentionNet, state: dict[str, Tensor]) -> None:
    """Load tensors of any floating-point type as the weights of a network; set evaluation mode and channels last."""
    network.load_state_dict({name: value.float() for name, value in state.items()}, assign=True)
    network.eval().to(memory_format=torch.channels_last)
