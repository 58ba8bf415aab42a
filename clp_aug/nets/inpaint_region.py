"""Layers of the inpainting network for a part of the picture: only the outputs that a rectangle needs, bit-identical.

A convolution sums the same products in the same order at every place. So a part of its output is bit-identical to that
part of the whole output, if the same code computes both. On a CPU torch has two implementations: oneDNN, and its own
for small inputs, which is no faster for a part. Layers of the second kind are computed for the whole picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from clp_aug.nets.contextual_attention import Convolution

ONEDNN_ABOVE = 20_480  # values of an input; torch's own rule for one picture and a kernel of at most 3
AROUND = (1, 1, 1, 1)  # a zero on every side; oneDNN adds it without a copy


class Span(NamedTuple):
    """Pixels low to high, half open, of an axis with `side` pixels."""

    low: int
    high: int
    side: int

    @property
    def whole(self) -> bool:
        """Whether it is the whole axis."""
        return (self.low, self.high) == (0, self.side)

    def grown(self) -> Span:
        """Return it with the neighbours that a kernel of 3 reads; there are none beyond the border."""
        return Span(max(self.low - 1, 0), min(self.high + 1, self.side), self.side)

    def halved(self) -> Span:
        """Return the pixels of an axis of half the length from which it is doubled."""
        return Span(self.low // 2, -(-self.high // 2), self.side // 2)

    def doubled(self) -> Span:
        """Return it on an axis twice as long."""
        return Span(2 * self.low, 2 * self.high, 2 * self.side)

    def zeros(self) -> tuple[int, int]:
        """Return the number of zeros that a kernel of 3 needs before and after it: 1 at the border, else 0."""
        return int(self.low == 0), int(self.high == self.side)

    def shrunk(self) -> Span:
        """Return the pixels for which a kernel of 3 can be computed from these pixels."""
        before, behind = self.zeros()
        return Span(self.low + 1 - before, self.high - 1 + behind, self.side)

    def within(self, other: Span) -> slice:
        """Return its place in an array with the pixels of another span."""
        return slice(self.low - other.low, self.high - other.low)


class Region(NamedTuple):
    """A rectangle of a picture: its rows and its columns."""

    rows: Span
    columns: Span

    @property
    def whole(self) -> bool:
        """Whether it is the whole picture."""
        return self.rows.whole and self.columns.whole

    def everything(self) -> Region:
        """Return the whole picture around it."""
        return Region(*(Span(0, span.side, span.side) for span in self))


def region_of(box: tuple[int, int, int, int], height: int, width: int) -> Region:
    """Return the region of a box, x0, y0, x1, y1, half open."""
    x0, y0, x1, y1 = box
    return Region(Span(y0, y1, height), Span(x0, x1, width))


def region_of_all(x: Tensor) -> Region:
    """Return the region of the whole of x, (N, C, h, w)."""
    height, width = x.shape[2:]
    return region_of((0, 0, width, height), height, width)


def plan(layers: Sequence[Convolution], wanted: Region) -> list[Region]:
    """Return the region that each layer reads so that the last gives `wanted`. layers: kernel 3, stride and rate 1."""
    regions: list[Region] = []
    for layer in reversed(layers):
        reads = Region(*(span.grown() for span in wanted))
        if not by_onednn(layer, wanted.rows.side * wanted.columns.side):
            reads = reads.everything()
        wanted = Region(*(span.halved() for span in reads)) if layer.layer.doubled else reads
        regions.append(wanted)
    return regions[::-1]


def by_onednn(layer: Convolution, pixels: int) -> bool:
    """Return whether torch uses oneDNN for a layer. pixels: of its whole input, after doubling if the layer doubles."""
    return layer.in_channels * pixels > ONEDNN_ABOVE


def run_part(
    layers: Sequence[Convolution], x: Tensor, has: Region, regions: Sequence[Region], room: Tensor
) -> tuple[Tensor, Region]:
    """Return the last layer's output, (1, C, h, w), and its region: the planned one, or a pixel more.

    x: the input, of the region `has`; regions: from `plan`; room: as in `elu_`.
    """
    for layer, reads in zip(layers, regions, strict=True):
        if has.whole and not reads.whole:
            x, has = cut(x, has, reads), reads
        x, has = convolve(layer, x, has)
        x = activate(layer, x, room)
    return x, has


def cut(x: Tensor, has: Region, wanted: Region) -> Tensor:
    """Return the part of x, (1, C, h, w) of the region `has`, in another region, channels last."""
    part = x[:, :, wanted.rows.within(has.rows), wanted.columns.within(has.columns)]
    return part.contiguous(memory_format=torch.channels_last)


def convolve(layer: Convolution, x: Tensor, has: Region) -> tuple[Tensor, Region]:
    """Return the output of a layer of kernel 3, stride and rate 1 for a region, before activation, and its region."""
    if layer.layer.doubled:
        x, has = F.interpolate(x, scale_factor=2, mode="nearest"), Region(*(span.doubled() for span in has))
    if has.whole:
        return F.conv2d(x, layer.weight, layer.bias, padding=1), has
    (above, below), (left, right) = (span.zeros() for span in has)
    padding = (above, left)
    if above != below or left != right:
        x, padding = F.pad(x, (left, right, above, below)), (0, 0)
    y = torch.mkldnn_convolution(x, layer.weight, layer.bias, padding, (1, 1), (1, 1), 1)
    return y, Region(*(span.shrunk() for span in has))


def run_whole(layers: Iterable[Convolution], x: Tensor, room: Tensor) -> Tensor:
    """Return the last layer's output for a whole picture, (1, C, h, w). layers: of any kind; room: as in `elu_`."""
    for layer in layers:
        x = activate(layer, convolve_whole(layer, x), room)
    return x


def convolve_whole(layer: Convolution, x: Tensor) -> Tensor:
    """Return a layer's output for a whole picture, before its activation; zeros around it are not written."""
    padded = (x.shape[2] + 2) * (x.shape[3] + 2)
    if layer.layer.stride == 1 or layer.layout.padding != AROUND or not by_onednn(layer, padded):
        return layer.convolved(x)
    return torch.mkldnn_convolution(x, layer.weight, layer.bias, (1, 1), layer.stride, (1, 1), 1)


def activate(layer: Convolution, x: Tensor, room: Tensor) -> Tensor:
    """Apply a layer's activation in place. room: as in `elu_`."""
    if layer.layer.activation is None:
        return x
    return x.relu_() if layer.layer.activation is F.relu else elu_(x, room)


def elu_(x: Tensor, room: Tensor) -> Tensor:
    """Apply ELU in place, like the network's own. x: dense; room: a buffer of at least as many values.

    Recently used memory is in the cache; new memory costs as much time as the sums.
    """
    y = room[: x.numel()].as_strided(x.shape, x.stride())
    torch.clamp(x, max=0, out=y)
    y.exp_().sub_(1)
    return torch.maximum(x, y, out=x)
