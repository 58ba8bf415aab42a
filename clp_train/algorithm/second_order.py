"""Convolution, batch norm and ReLU with cheap second derivatives; exact, for any network.

Eq. (6) differentiates a gradient. torch can do that, but slowly on a CPU: for a convolution's backward pass it uses a
convolution with a kernel as large as the picture, for batch norm's about thirty elementwise passes, and for ReLU's it
adds zeros. `second_order()` uses the functions below instead while a forward pass runs; nothing else changes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

Geometry = tuple[Any, ...]
"""Stride, padding, dilation, groups."""
Wanted = tuple[bool, bool, bool]
"""Whether the gradients of input, weight and bias are needed."""
Running = tuple["Tensor | None", "Tensor | None"]
"""Running mean and variance of batch norm."""
Gradients = tuple[Any, ...]
"""One gradient for each input of a function, None for no gradient."""
aten: Any = torch.ops.aten
native_batch_norm: Any = torch.native_batch_norm
SMALLEST = 1e-12  # |gamma| that may be divided by


class Convolution(Function):
    """torch.conv2d with numeric padding; geometry: stride, padding, dilation, groups; mode: `second_order`'s."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry, mode: second_order
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry, ctx.mode = geometry, mode
        return torch.conv2d(x, weight, bias, *geometry)

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> Gradients:
        x, weight = ctx.saved_tensors
        to_x, to_weight, to_bias = ctx.needs_input_grad[:3]
        needs = (to_x, False, False) if ctx.mode.inputs_only else (to_x, to_weight, to_bias)
        if not torch.is_grad_enabled():
            return *_convolution_backward(gy, x, weight, ctx.geometry, needs), None, None
        return *ConvolutionBackward.apply(gy, x, weight, ctx.geometry, needs), None, None


class ConvolutionBackward(Function):
    """The gradients of a convolution with respect to input, weight and bias; None for those that are not needed.

    All are linear in gy: the gradient of <v, gx> is a convolution of v, and a weight gradient with v as the input.
    """

    @staticmethod
    def forward(ctx: Any, gy: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, needs: Wanted) -> Gradients:
        ctx.save_for_backward(gy, x, weight)
        ctx.geometry = geometry
        ctx.set_materialize_grads(False)
        return _convolution_backward(gy, x, weight, geometry, needs)

    @staticmethod
    def backward(ctx: Any, v_x: Tensor | None, v_weight: Tensor | None, v_bias: Tensor | None) -> Gradients:
        gy, x, weight = ctx.saved_tensors
        to_gy = to_x = to_weight = None
        if v_x is not None:
            to_gy = torch.conv2d(v_x, weight, None, *ctx.geometry)
            _, to_weight, _ = _convolution_backward(gy, v_x, weight, ctx.geometry, (False, True, False))
        if v_weight is not None:
            to_gy = _sum(to_gy, torch.conv2d(x, v_weight, None, *ctx.geometry))
            to_x, _, _ = _convolution_backward(gy, x, v_weight, ctx.geometry, (True, False, False))
        if v_bias is not None:
            to_gy = _sum(to_gy, v_bias[:, None, None].expand_as(gy))
        return to_gy, to_x, to_weight, None, None


def _convolution_backward(gy: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, needs: Wanted) -> Gradients:
    stride, padding, dilation, groups = geometry
    gradients: Gradients = aten.convolution_backward(
        gy, x, weight, [weight.shape[0]], stride, padding, dilation, False, [0, 0], groups, list(needs)
    )
    return gradients


class BatchNorm(Function):
    """Batch norm by the batch's own statistics, y = gamma x^ + beta with x^ = (x - mean) r and r = 1 / std.

    running: running mean and variance (updated in place), or (None, None); M below is the pictures times the pixels.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        gamma: Tensor,
        beta: Tensor,
        running: Running,
        momentum: float,
        eps: float,
    ) -> Tensor:
        y: Tensor
        y, mean, r = native_batch_norm(x, gamma, beta, *running, True, momentum, eps)
        ctx.save_for_backward(x, gamma, mean, r)
        ctx.eps = eps
        return y

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> Gradients:
        gradients: Any = BatchNormBackward.apply if torch.is_grad_enabled() else _first_batch_norm_backward
        return *gradients(gy, *ctx.saved_tensors, ctx.eps)[:3], None, None, None


class BatchNormBackward(Function):
    """gx = J gy, g_gamma = sum(gy x^), g_beta = sum(gy).

    J = gamma r P with P = 1 - (mean over M) - x^ (mean of x^ .) is symmetric, so the gradient of <v, gx> with respect
    to gy is J v, the same kernel once more, and with respect to x it is

        -(r / M) (<v, gx> x^ + sum(gy x^) J v + sum(v x^) gx).
    """

    @staticmethod
    def forward(ctx: Any, gy: Tensor, x: Tensor, gamma: Tensor, mean: Tensor, r: Tensor, eps: float) -> Gradients:
        gx, g_gamma, g_beta, kept = _first_batch_norm_backward(gy, x, gamma, mean, r, eps)
        ctx.save_for_backward(x, gamma, mean, r, kept, g_gamma)
        ctx.eps = eps
        ctx.set_materialize_grads(False)
        return gx, g_gamma, g_beta

    @staticmethod
    def backward(ctx: Any, v_x: Tensor | None, v_gamma: Tensor | None, v_beta: Tensor | None) -> Gradients:
        if torch.is_grad_enabled():  # mean and r are constants below
            raise NotImplementedError("batch norm has no third derivative, here as in torch")
        x, gamma, mean, r, kept, gy_xhat = ctx.saved_tensors
        divides = divides_by_gamma(gamma)  # then gx was kept, else gx / gamma
        to_gy = to_x = to_gamma = None
        if v_x is not None:
            to_gy, v_xhat, _ = _batch_norm_backward(v_x, x, gamma, mean, r, ctx.eps)  # J v, sum(v x^)
            v_kept = _channel_products(v_x, kept, torch.zeros_like(mean))
            v_gx = v_kept if divides else gamma * v_kept
            per_picture = -r * x.shape[1] / x.numel()  # -(r / M)
            # x^ = (x - mean) r, spread over x and a constant so that no x^ is stored
            slope = per_picture * v_gx * r
            to_x = torch.addcmul(-(slope * mean)[:, None, None], x, slope[:, None, None])
            to_x = to_x.addcmul_(to_gy, (per_picture * gy_xhat)[:, None, None])
            of_gx = per_picture * v_xhat
            to_x = to_x.addcmul_(kept, (of_gx if divides else of_gx * gamma)[:, None, None])
            to_gamma = v_gx / gamma if divides else v_kept
        if v_gamma is not None:
            to_gy = _sum(to_gy, (x - mean[:, None, None]) * (r * v_gamma)[:, None, None])
            to_x = _sum(to_x, kept * (v_gamma / gamma if divides else v_gamma)[:, None, None])
        if v_beta is not None:
            to_gy = _sum(to_gy, v_beta[:, None, None].expand_as(x))
        return to_gy, to_x, to_gamma, None, None, None


def _first_batch_norm_backward(gy: Tensor, x: Tensor, gamma: Tensor, mean: Tensor, r: Tensor, eps: float) -> Gradients:
    """Return gx, g_gamma, g_beta, and what the second derivative keeps: gx, or gx / gamma."""
    if divides_by_gamma(gamma):
        gx, g_gamma, g_beta = _batch_norm_backward(gy, x, gamma, mean, r, eps)
        return gx, g_gamma, g_beta, gx
    kept, g_gamma, g_beta = _batch_norm_backward(gy, x, None, mean, r, eps)
    return kept * gamma[:, None, None], g_gamma, g_beta, kept


def divides_by_gamma(gamma: Tensor) -> bool:
    """Return whether batch norm's second derivative divides by its scale: on a CPU this saves a pass."""
    return gamma.device.type == "cpu"


def _batch_norm_backward(gy: Tensor, x: Tensor, gamma: Tensor | None, mean: Tensor, r: Tensor, eps: float) -> Gradients:
    gradients: Gradients = aten.native_batch_norm_backward(
        gy, x, gamma, None, None, mean, r, True, eps, [True, True, True]
    )
    return gradients


def _channel_products(a: Tensor, b: Tensor, zero: Tensor) -> Tensor:
    """Return sum(a b) of each channel, (C,): batch norm's own reduction, twice as fast as a product and a sum."""
    mask = [False, True, False]
    products: Tensor = aten.native_batch_norm_backward(a, b, None, None, None, zero, zero + 1, True, 0.0, mask)[1]
    return products


def _sum(total: Tensor | None, part: Tensor) -> Tensor:
    return part if total is None else total + part


class Relu(Function):
    """max(x, 0)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = torch.relu(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> Any:
        (y,) = ctx.saved_tensors
        return ReluBackward.apply(gy, y) if torch.is_grad_enabled() else aten.threshold_backward(gy, y, 0)


class ReluBackward(Function):
    """gy where y > 0, else 0: linear in gy and piecewise constant in y, so y has no gradient."""

    @staticmethod
    def forward(ctx: Any, gy: Tensor, y: Tensor) -> Any:
        ctx.save_for_backward(y)
        return aten.threshold_backward(gy, y, 0)

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> Gradients:
        (y,) = ctx.saved_tensors
        return aten.threshold_backward(v, y, 0), None


class second_order(TorchFunctionMode):
    """Replace torch.conv2d, F.batch_norm and ReLU by the functions above inside this context: the values are the same.

    Not for forward-mode differentiation. Source: ours; batch norm's second derivative by the symmetry of its first.
    """

    inputs_only = False

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function is torch.conv2d:
            return self._conv2d(*args, **kwargs)
        if function in (F.relu, torch.relu) and len(args) == 1 and not kwargs.get("inplace"):
            return Relu.apply(args[0])
        return _batch_norm(*args, **kwargs) if function is F.batch_norm else function(*args, **kwargs)

    def input_gradient(self, scalar: Tensor, images: Tensor) -> Tensor:
        """Return d scalar / d images with a graph, for a scalar computed inside, and no gradient of a weight."""
        self.inputs_only = True
        try:
            return input_gradient(scalar, images)
        finally:
            self.inputs_only = False

    def _conv2d(
        self,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor:
        if isinstance(padding, str) or input.dim() != 4:  # "same" pads unevenly at times
            return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)
        pairs = ((n, n) if isinstance(n, int) else tuple(n) for n in (stride, padding, dilation))
        input, weight, bias = as_autocast(input, weight, bias)
        output: Tensor = Convolution.apply(input, weight, bias, (*pairs, groups), self)
        return output


def _batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if x.dim() != 4 or weight is None or bias is None or (training and is_too_small(weight.detach())):
        return F.batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
    x = x.to(torch.promote_types(x.dtype, weight.dtype))  # in bfloat16 the statistics would be rounded
    if training:
        output: Tensor = BatchNorm.apply(x, weight, bias, (running_mean, running_var), momentum, eps)
        return output
    if running_mean is None or running_var is None:
        return F.batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
    scale = weight * (running_var + eps).rsqrt()
    return x * scale[:, None, None] + (bias - running_mean * scale)[:, None, None]


def as_autocast(*tensors: Tensor | None) -> list[Any]:
    """Return a convolution's inputs in the type of autocast, which does not act inside a torch Function."""
    kind = next(tensor for tensor in tensors if tensor is not None).device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
    return [tensor if dtype is None or tensor is None else tensor.to(dtype) for tensor in tensors]


def is_too_small(gamma: Tensor) -> bool:
    """Return whether batch norm would divide by this scale although it is too small."""
    return divides_by_gamma(gamma) and bool(gamma.abs().min() < SMALLEST)


def input_gradient(scalar: Tensor, images: Tensor) -> Tensor:
    """Return d scalar / d images with a graph, for a scalar of any network. Tests compare `second_order` with it."""
    return torch.autograd.grad(scalar, images, create_graph=True)[0]
