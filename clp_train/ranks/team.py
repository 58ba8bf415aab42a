"""The ranks of a run: how many they are, which one this is, and what they compute together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clp_train.ranks import LOCAL, SYNCHRONISED
from clp_train.ranks.collectives import averages, gathered, texts_of_all


@dataclass(frozen=True)
class Share:
    """A rank's own part of a batch. counts: the rows of each rank."""

    counts: tuple[int, ...]
    rank: int

    @property
    def rows(self) -> slice:
        """The rank's own rows."""
        start = sum(self.counts[: self.rank])
        return slice(start, start + self.counts[self.rank])

    def gather(self, own: Tensor) -> Tensor:
        """Return the rows of all ranks, (n, ...), from each rank's own rows; with the derivatives of `gathered`."""
        return gathered(own, self.counts, self.rank)


@dataclass(frozen=True)
class Ranks:
    """The processes of a run. rank: number of this one, from 0; size: how many there are; local: its number on its
    machine; batch_norm: of BATCH_NORMS.

    In a single process all methods return their arguments unchanged.
    """

    rank: int = 0
    size: int = 1
    local: int = 0
    batch_norm: str = SYNCHRONISED

    @property
    def is_first(self) -> bool:
        """Whether this is the rank that writes and prints."""
        return self.rank == 0

    def share(self, pictures: int) -> Share | None:
        """Return this rank's part of a batch; None if each takes all: as a single process, or with too few pictures."""
        if self.size == 1 or pictures < self.size:
            return None
        each, more = divmod(pictures, self.size)
        return Share(tuple(each + (rank < more) for rank in range(self.size)), self.rank)

    def average(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the mean over ranks of each tensor; for gradients, this is the gradient of the whole batch."""
        return tuple(tensors) if self.size == 1 or not tensors else averages(tensors, self.size)

    def texts(self, own: str) -> list[str]:
        """Return the texts of all ranks, in their order."""
        return [own] if self.size == 1 else texts_of_all(own, self.size)

    @torch.no_grad()
    def even_out(self, network: nn.Module) -> None:
        """Average the running statistics of batch norms, in place, if each rank used the statistics of its own part."""
        if self.size == 1 or self.batch_norm != LOCAL:
            return
        kept = [values for values in network.buffers() if values.is_floating_point()]
        for values, mean in zip(kept, self.average(kept), strict=True):
            values.copy_(mean)


ALONE = Ranks()
