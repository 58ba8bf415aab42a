"""Convolutions of a folded network on one thread of a CPU: the sums of torch's own layers, with fewer passes.

Torch writes the result of a convolution, reads it again for the activation and writes that to new memory. At 112 x 112
pixels and 96 planes these passes, and new memory for each of them, cost more than the sums. For inference only: the
weights are copies, without gradients. Activations are best in channels-last layout, float32 (N, C, H, W).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clp_aug.nets.efficientnet_lite import Block, SameConv2d

SIX = 6.0  # of ReLU6
NARROW = 24  # up to so many planes an expansion's sums cost less than the passes over their results


def runs_fused() -> bool:
    """Return whether this torch has oneDNN's convolution with a built-in activation, on a processor that we tested."""
    return (
        torch.backends.mkldnn.is_available()
        and torch.backends.cpu.get_cpu_capability().startswith("AVX")
        and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
        and hasattr(torch._C._nn, "mkldnn_reorder_conv2d_weight")
    )


class Activated(nn.Module):
    """A convolution and its ReLU; top: the upper bound, 6 for ReLU6, None for ReLU.

    A layer with TensorFlow's SAME padding needs even sides: a row and a column of zeros in its kernel replace the
    missing padding on the left and the top. After that the padding is the same on both sides.
    """

    def __init__(self, layer: nn.Conv2d, top: float | None = None) -> None:
        super().__init__()
        weight, padding = layer.weight.detach(), [kernel // 2 for kernel in layer.kernel_size]
        if isinstance(layer, SameConv2d) and layer.stride[0] > 1:
            weight = F.pad(weight, (1, 0, 1, 0))
        self.where = padding, list(layer.stride), [1, 1], layer.groups
        self.weight, self.bias = weight, None if layer.bias is None else layer.bias.detach()
        self.top, self.fused = top, runs_fused()
        self.reordered: Tensor | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for pickling and copying, without weights in oneDNN's order, which cannot be pickled."""
        return {**self.__dict__, "reordered": None}

    def forward(self, x: Tensor) -> Tensor:
        padding, stride, dilation, groups = self.where
        if not self.fused:
            return F.conv2d(x, self.weight, self.bias, stride, padding, dilation, groups).clamp_(0, self.top)
        if self.reordered is None:
            self.reordered = in_order_of_reading(self.weight, padding, stride, dilation, groups)
        name, bounds = ("relu", []) if self.top is None else ("hardtanh", [0.0, self.top])
        convolution: Any = torch.ops.mkldnn._convolution_pointwise
        found: Tensor = convolution(x, self.reordered, self.bias, *self.where, name, bounds, "")
        return found


def in_order_of_reading(
    weight: Tensor, padding: list[int], stride: list[int], dilation: list[int], groups: int
) -> Tensor:
    """Return a convolution's weights in the order in which oneDNN reads them."""
    reorder = getattr(torch._C._nn, "mkldnn_reorder_conv2d_weight")  # noqa: B009  # it has no declared type
    found: Tensor = reorder(weight.contiguous().to_mkldnn(), padding, stride, dilation, groups)
    return found


class Product(nn.Module):
    """A 1 x 1 convolution as one product of matrices over the pixels; top: bound of its ReLU, None for no ReLU."""

    def __init__(self, layer: nn.Conv2d, top: float | None = None) -> None:
        super().__init__()
        self.weight, self.top = layer.weight.detach().flatten(1).t(), top
        self.bias = torch.zeros(layer.out_channels) if layer.bias is None else layer.bias.detach()

    def forward(self, x: Tensor) -> Tensor:
        n, planes, height, width = x.shape
        y = torch.addmm(self.bias, x.permute(0, 2, 3, 1).reshape(-1, planes), self.weight)
        if self.top is not None:
            y.clamp_(0, self.top)
        return y.view(n, height, width, -1).permute(0, 3, 1, 2)


class QuickBlock(nn.Module):
    """A folded block of EfficientNet-Lite0; with stride 2 both sides of its input must be even."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.expand: nn.Module | None = None
        if block.expand is not None:
            quick = Activated if block.expand.in_channels <= NARROW else Product
            self.expand = quick(block.expand, SIX)
        self.depthwise, self.project = Activated(block.depthwise, SIX), Product(block.project)
        self.residual = block.residual

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.depthwise(x if self.expand is None else self.expand(x)))
        return y.add_(x) if self.residual else y
