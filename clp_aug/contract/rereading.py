"""A shard is read again in parts, by one process or by many, to check that it holds what was written."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from clp_aug.contract.shards import ShardReader

MOST, MOST_BYTES = 1024, 1 << 26  # pictures of a part, and what they take


@dataclass(frozen=True)
class Reread:
    """Some rows of one data set of pictures, to be compared with their digests."""

    path: Path
    name: str
    start: int
    stop: int

    def at(self, reader: ShardReader) -> int:
        """Return how many pictures were read. Raises InputError for a picture that differs from what was written."""
        return reader.verify_rows(self.name, self.start, self.stop)


Map = Callable[[Iterable[Reread]], Iterator[int]]


def rereads(path: Path) -> list[Reread]:
    """Return the parts of a shard to read again: all of its pictures. Raises InputError for a damaged shard."""
    reader = ShardReader(path)
    most = max(1, min(MOST, MOST_BYTES // math.prod(reader.shape[1:])))
    return [
        Reread(path, name, start, min(start + most, rows))
        for name, rows in reader.pictures().items()
        for start in range(0, rows, most)
    ]


def in_this_process(parts: Iterable[Reread]) -> Iterator[int]:
    """Read parts of one shard again, here."""
    reader = None
    for part in parts:
        reader = reader or ShardReader(part.path)
        yield part.at(reader)
