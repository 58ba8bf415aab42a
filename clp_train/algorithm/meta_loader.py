"""Meta batches for your own training loop: from a shard or from your own loader, repeated without end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from clp_aug.contract.errors import SettingError
from clp_aug.contract.seeds import rng_for


@runtime_checkable
class MetaShard(Protocol):
    """What a shard must offer; `clp_aug.ShardReader` does."""

    tables: Mapping[str, np.ndarray]

    def __len__(self) -> int: ...

    def images(self) -> np.ndarray: ...


class MetaLoader:
    """The meta batches of a shard: pictures float32 (n, 3, H, W) in [0, 1], labels int64 (n,), kinds uint8 (n,).

    shard: an open shard; its pictures are kept in memory; transform: applied to the pictures of a batch, such as the
    normalisation of the training pictures; seed: of the order, which differs in each pass. The last batch of a pass may
    be smaller. Raises SettingError for a batch size below 1.
    """

    def __init__(
        self,
        shard: MetaShard,
        batch_size: int = 64,
        transform: Callable[[Tensor], Tensor] | None = None,
        seed: int = 0,
    ) -> None:
        if batch_size < 1:
            raise SettingError("batch_size", batch_size, "expected a whole number >= 1")
        self.images = torch.from_numpy(shard.images()).permute(0, 3, 1, 2).contiguous()
        self.label = torch.from_numpy(shard.tables["meta/label"].astype(np.int64))
        self.kind = torch.from_numpy(shard.tables["meta/kind"].astype(np.uint8))
        self.batch_size, self.transform, self.seed, self.passes = batch_size, transform, seed, 0

    def __len__(self) -> int:
        return -(-len(self.label) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        order = rng_for(self.seed, self.passes, "meta order").permutation(len(self.label))
        self.passes += 1
        for start in range(0, len(order), self.batch_size):
            rows = torch.from_numpy(order[start : start + self.batch_size])
            x = self.images[rows].float() / 255
            yield x if self.transform is None else self.transform(x), self.label[rows], self.kind[rows]


def endless(loader: Iterable[Any]) -> Iterator[Any]:
    """Yield the batches of a loader, pass after pass, without end. Raises SettingError for a loader without batches."""
    while True:
        is_empty = True
        for batch in loader:
            is_empty = False
            yield batch
        if is_empty:
            kind = type(loader).__name__
            raise SettingError(
                "meta",
                kind,
                "it gave no batches in its first or a later pass; expected a loader that can be read again",
            )
