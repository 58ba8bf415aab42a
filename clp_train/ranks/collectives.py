"""Operations over ranks, with derivatives: gather rows, stack statistics.

Every rank computes the same loss of gathered rows. Its gradient by the rank's own weights is N times the gradient of
the rank's own rows, so the mean over ranks is the gradient of the whole batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch import distributed as dist


def stacked(own: Tensor) -> Tensor:
    """Return the tensors of all ranks, (N, ...), with derivatives of any order. own: this rank's.

    For small tensors, such as statistics of a batch. Later computations may differ between ranks, so gradients are
    exchanged.
    """
    return cast(Tensor, Stacked.apply(own))


def gathered(own: Tensor, counts: Sequence[int], rank: int) -> Tensor:
    """Return the rows of all ranks in their order, (n, ...), with derivatives. own: (counts[rank], ...).

    counts: rows of each rank. Later computations are the same on every rank, so gradients are not exchanged.
    """
    return cast(Tensor, Gathered.apply(own, tuple(counts), rank))


class Stacked(torch.autograd.Function):
    """Tensors of all ranks. Its transpose is `Scattered`."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        return stack_of(own)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return cast(Tensor, Scattered.apply(gradient))

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        return stack_of(tangent)


class Scattered(torch.autograd.Function):
    """The sum over ranks of this rank's row of their tensors (N, ...). Its transpose is `Stacked`."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        return stack_of(rows)[:, dist.get_rank()].sum(0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return cast(Tensor, Stacked.apply(gradient))


class Gathered(torch.autograd.Function):
    """Rows of all ranks. Backward: a rank's own rows of the gradient, which all have, times the number of ranks."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, counts: tuple[int, ...], rank: int) -> Tensor:
        ctx.counts, ctx.rank = counts, rank
        return rows_of_all(own, counts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        start = sum(ctx.counts[: ctx.rank])
        return len(ctx.counts) * gradient[start : start + ctx.counts[ctx.rank]], None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, counts: None, rank: None) -> Tensor:
        return rows_of_all(tangent, ctx.counts)


def stack_of(own: Tensor) -> Tensor:
    """Return the tensors of all ranks, (N, ...), without a graph. A gather has half the latency of a sum."""
    received = [torch.empty_like(own, memory_format=torch.contiguous_format) for _ in range(dist.get_world_size())]
    dist.all_gather(received, own.detach().contiguous())
    return torch.stack(received)


def rows_of_all(own: Tensor, counts: Sequence[int]) -> Tensor:
    """Return the rows of all ranks in their order, without a graph."""
    most = max(counts)
    padded = own.new_zeros(most, *own.shape[1:])
    padded[: len(own)] = own.detach()
    received = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(received, padded)
    return torch.cat([rows[:count] for rows, count in zip(received, counts, strict=True)])


def averages(tensors: Sequence[Tensor], size: int) -> tuple[Tensor, ...]:
    """Return the mean over ranks of each tensor, in its memory layout; tensors of one type are sent as one."""
    found: list[Tensor] = list(tensors)
    for kind in dict.fromkeys(values.dtype for values in tensors):
        places = [i for i, values in enumerate(tensors) if values.dtype == kind]
        flat = torch.cat([tensors[i].detach().reshape(-1) for i in places])
        dist.all_reduce(flat)
        flat /= size
        for i, part in zip(places, flat.split([tensors[i].numel() for i in places]), strict=True):
            found[i] = torch.empty_like(tensors[i]).copy_(part.view(tensors[i].shape))
    return tuple(found)


def texts_of_all(own: str, size: int) -> list[str]:
    """Return the text of each rank, in their order. Texts are sent between CPUs, whatever the run's device."""
    data = torch.frombuffer(bytearray(own.encode() or b"\0"), dtype=torch.uint8)
    lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(size)]
    dist.all_gather(lengths, torch.tensor([len(own.encode())]))
    counts = [int(length) for length in lengths]
    padded = torch.zeros(max(1, *counts), dtype=torch.uint8)
    padded[: counts[dist.get_rank()]] = data[: counts[dist.get_rank()]]
    received = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(received, padded)
    return [bytes(part[:count].numpy()).decode() for part, count in zip(received, counts, strict=True)]
