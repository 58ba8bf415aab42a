"""Batch norm by the statistics of the whole batch, whose rows are on several ranks; differentiable any number of times.

torch's own has no second derivative, and does not exist for CPUs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from clp_train.ranks.collectives import stacked

if TYPE_CHECKING:
    from clp_train.ranks.splitting import SplitPasses


class Synchronised:
    """Replaces a batch norm's forward while a network's passes are split."""

    def __init__(self, module: nn.Module, passes: SplitPasses) -> None:
        self.module, self.forward, self.passes = module, module.forward, passes

    def __call__(self, x: Tensor) -> Tensor:
        share = self.passes.share
        if share is None or not self.module.training:
            return self.forward(x)
        with WholeBatch(share.counts, share.rank):
            return self.forward(x)


class WholeBatch(TorchFunctionMode):
    """Let batch norm in training mode use the statistics of all ranks' rows inside it. counts: rows of each rank.

    Means and squared differences of parts are combined as in Chan et al. (1979), with one exchange per pass.
    """

    def __init__(self, counts: Sequence[int], rank: int) -> None:
        super().__init__()
        self.counts, self.rank = counts, rank

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
        """Return this rank's rows of `torch.nn.functional.batch_norm` over the whole batch."""
        if not training:
            return F.batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
        kind = x.dtype
        wide = x if weight is None else x.to(torch.promote_types(kind, weight.dtype))
        dims, shape = [0, *range(2, x.dim())], [1, -1, *[1] * (x.dim() - 2)]
        pixels = x.numel() // x.shape[1]
        own_mean = wide.sum(dims) / pixels
        centred = wide - own_mean.view(shape)
        own_variance = (centred * centred).sum(dims) / pixels
        means, variances = stacked(torch.stack([own_mean, own_variance])).unbind(1)  # (N, C) each
        weights = wide.new_tensor(self.counts)[:, None] / sum(self.counts)
        mean = (weights * means).sum(0)
        variance = (weights * (variances + (means - mean).square())).sum(0)
        count = pixels * sum(self.counts) // self.counts[self.rank]
        note(running_mean, mean, momentum)
        note(running_var, variance * (count / max(1, count - 1)), momentum)
        scale = (variance + eps).rsqrt()
        scale = scale if weight is None else scale * weight
        shift = (own_mean - mean) * scale
        shift = shift if bias is None else shift + bias
        return torch.addcmul(shift.view(shape), centred, scale.view(shape)).to(kind)


@torch.no_grad()
def note(running: Tensor | None, value: Tensor, momentum: float) -> None:
    """Mix a statistic of a batch into the running one, in place."""
    if running is not None:
        running.mul_(1 - momentum).add_(value.detach().to(running.dtype), alpha=momentum)
