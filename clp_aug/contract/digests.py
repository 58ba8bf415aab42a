"""What a shard says about its own content: a digest of each picture, and a seal over the header and every table."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping

import numpy as np

from clp_aug.contract.schema import ALL_FIELDS, SEAL, Header


def picture_digest(picture: np.ndarray) -> int:
    """Return the first eight bytes of the sha256 of a picture's bytes, uint8 of any shape, as an integer."""
    return int.from_bytes(hashlib.sha256(np.ascontiguousarray(picture).data).digest()[:8], "little")


def seal_of(header: Header, tables: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return sha256, uint8 (32,), over the header and all tables, with those of digests, in the contract's order.

    So two shards with the same seal hold the same pictures. A shard with parts of two runs does not fit any seal.
    """
    digest = hashlib.sha256(json.dumps(dataclasses.asdict(header), sort_keys=True).encode())
    for name in ALL_FIELDS:
        if name in tables and name != SEAL:
            table = np.ascontiguousarray(tables[name], np.dtype(ALL_FIELDS[name].dtype).newbyteorder("<"))
            digest.update(f"{name}{table.shape}".encode())
            digest.update(table.data)
    return np.frombuffer(digest.digest(), np.uint8)
