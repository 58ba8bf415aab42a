"""What work asks of a device, whichever it is: floating-point operations, and calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

VIEWS = (
    "alias", "as_strided", "detach", "diagonal", "expand", "permute", "select", "slice", "split", "squeeze", "t",
    "transpose", "unbind", "unfold", "unsqueeze", "view", "_unsafe_view",
)  # fmt: skip


class Asked(TorchDispatchMode):
    """Counts what torch's own operators are asked within it, those of backward passes with them.

    flops: of convolutions and products, a multiplication and an addition as two; calls: of operators that compute
    something, each a kernel or more on a GPU.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops, self.calls = 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        packet = func.overloadpacket
        if packet not in flop_registry:
            with self:
                parts = func.decompose(*args, **(kwargs or {}))  # of what is made of others, in inference mode
            if parts is not NotImplemented:
                return parts
        out = func(*args, **(kwargs or {}))
        self.calls += packet.__name__ not in VIEWS
        if packet is torch.ops.aten.convolution_backward:  # the registry's count is not that of grouped ones
            self.flops += backward_flops(*args)
        elif packet in flop_registry:
            self.flops += flop_registry[packet](*args, **(kwargs or {}), out_val=out)
        return out


def backward_flops(gradient: Tensor, _input: Tensor, weight: Tensor, *others: Any) -> int:
    """Return operations of a convolution's gradients: for its input, its weights or both, each as many as forwards."""
    *_, wanted = others
    return 2 * gradient.numel() * weight[0].numel() * sum(map(bool, wanted[:2]))


def asked(work: Callable[[], object], pictures: int = 1) -> dict[str, int]:
    """Return floating-point operations a picture, and calls in all, of some work on so many pictures, done before."""
    with Asked() as counter:
        work()
    return {"flops a picture": round(counter.flops / pictures), "calls": counter.calls}
