"""LOAD: pictures that a shard stores, in memory or as a mapped file of the cache."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from clp_aug.common.progress import Watch, unwatched
from clp_aug.contract.shards import ShardReader
from clp_train.loading.cache import load_or_fill, path_of
from clp_train.pictures.types import BoxedPictures

META = "meta"
"""Name of the meta set in a progress bar and in the key of its file."""
IMAGES = "meta/images"


def meta_pictures(shard: ShardReader, cache: Path | None = None, watch: Watch = unwatched) -> BoxedPictures:
    """Return the meta set of a shard: originals, counterfactuals and factuals.

    cache: folder that keeps its pictures as a mapped file, None for memory; watch: wraps the rows for a progress bar.
    Raises InputError for a picture that is damaged, and what `load_or_fill` raises.
    """
    tables = shard.tables
    group = tables["meta/group"] if shard.header.group_names else tables["meta/label"]
    return BoxedPictures(
        images=stored_pictures(shard, np.arange(len(shard)), META, cache, watch),
        label=torch.from_numpy(tables["meta/label"]),
        group=torch.from_numpy(group).long(),
        sample_id=torch.from_numpy(tables["meta/sample_id"]),
        box=torch.from_numpy(tables["meta/box"]).long(),
        kind=torch.from_numpy(tables["meta/kind"]),
    )


def stored_pictures(
    shard: ShardReader, rows: np.ndarray, name: str, cache: Path | None = None, watch: Watch = unwatched
) -> Tensor:
    """Return some rows, int64 (n,), of /meta/images: uint8 (n, 3, H, W), read one at a time.

    name: for the progress bar and the key of the file in the cache; the key also depends on the pictures' digests. A
    shard of version 1.0 has no digests and goes to memory. Raises as `meta_pictures` does.
    """
    height, width = shard.shape[1:3]
    shape, digests = (len(rows), 3, height, width), shard.digests.get(IMAGES)

    def pictures(start: int) -> Iterator[np.ndarray]:
        for row in watch(rows[start:], name):
            yield shard.image(int(row)).transpose(2, 0, 1)

    if cache is not None and digests is not None:
        key = hashlib.sha256(np.ascontiguousarray(digests[rows]).tobytes()).hexdigest()
        return load_or_fill(path_of(cache, name, key), shape, np.uint8, pictures)
    images = np.empty(shape, np.uint8)
    for i, picture in enumerate(pictures(0)):
        images[i] = picture
    return torch.from_numpy(images)
