"""Batch norm by the statistics of the whole batch, whose rows lie on several ranks; differentiable as often as asked.

torch's own has no second derivative, and is not there on CPUs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from clp_train.ranks.collectives import summed

if TYPE_CHECKING:
    from clp_train.ranks.splitting import SplitPasses


class Synchronised:
    """What stands in the place of a batch norm's forward while a network's passes are split."""

    def __init__(self, module: nn.Module, passes: SplitPasses) -> None:
        self.module, self.forward, self.passes = module, module.forward, passes

    def __call__(self, x: Tensor) -> Tensor:
        share = self.passes.share
        if share is None or not self.module.training:
            return self.forward(x)
        with WholeBatch(sum(share.counts) / share.counts[share.rank]):
            return self.forward(x)


class WholeBatch(TorchFunctionMode):
    """Within it, batch norm in training mode takes the statistics of all ranks' rows. more: rows of the whole batch for
    each of this rank's.
    """

    def __init__(self, more: float) -> None:
        super().__init__()
        self.more = more

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        return self.batch_norm(*args, **kwargs) if function is F.batch_norm else function(*args, **kwargs)

    def batch_norm(
        self,
        x: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        """Return what `torch.nn.functional.batch_norm` returns of the whole batch, this rank's rows of it."""
        if not training:
            return F.batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
        kind = x.dtype
        wide = x if weight is None else x.to(torch.promote_types(kind, weight.dtype))
        count = round(self.more * x.numel() / x.shape[1])
        dims = [0, *range(2, x.dim())]
        shape = [1, -1, *[1] * (x.dim() - 2)]
        mean = summed(wide.sum(dims)) / count
        centred = wide - mean.view(shape)
        variance = summed(centred.square().sum(dims)) / count
        note(running_mean, mean, momentum)
        note(running_var, variance * (count / max(1, count - 1)), momentum)
        y = centred * (variance + eps).rsqrt().view(shape)
        y = y if weight is None else y * weight.view(shape)
        return (y if bias is None else y + bias.view(shape)).to(kind)


@torch.no_grad()
def note(running: Tensor | None, value: Tensor, momentum: float) -> None:
    """Mix a statistic of a batch into the running one, in place."""
    if running is not None:
        running.mul_(1 - momentum).add_(value.detach().to(running.dtype), alpha=momentum)
