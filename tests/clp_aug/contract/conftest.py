"""A small shard of random pictures: what every test of the contract starts from."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from clp_aug.contract import schema
from clp_aug.contract.schema import Header
from clp_aug.contract.shards import write_shard


@dataclasses.dataclass
class Parts:
    """The arguments of write_shard, to be changed before they are written."""

    header: Header
    tables: dict[str, np.ndarray]
    images: np.ndarray
    mattes: np.ndarray

    def write(self, path: Path, block: int = 3) -> Path:
        """Write the shard in blocks of `block` pictures."""
        pictures = {
            "meta/images": (self.images[i : i + block] for i in range(0, len(self.images), block)),
            "look/matte": (self.mattes[i : i + block] for i in range(0, len(self.mattes), block)),
        }
        write_shard(path, self.header, self.tables, pictures)
        return path


def make_parts(seed: int = 0, originals: int = 4, height: int = 8, width: int = 10, train: int = 6) -> Parts:
    """Random pictures: each original followed by one counterfactual and one factual."""
    rng = np.random.default_rng(seed)
    ids = rng.permutation(100 * (originals + train))[: originals + train]
    source, kind = np.repeat(ids[:originals], 3), np.tile(np.arange(3), originals)
    n = 3 * originals

    def boxes(count: int) -> np.ndarray:
        x0, y0 = rng.integers(0, width, count), rng.integers(0, height, count)
        return np.stack([x0, y0, rng.integers(x0 + 1, width + 1), rng.integers(y0 + 1, height + 1)], 1)

    tables = {
        "meta/label": np.repeat(rng.integers(0, 2, originals), 3),
        "meta/kind": kind,
        "meta/fill": kind,
        "meta/box": np.repeat(boxes(originals), 3, 0),
        "meta/sample_id": source,
        "meta/parent_id": source,
        "meta/group": np.repeat(rng.integers(-1, 2, originals), 3),
        "meta/box_source": np.zeros(n),
        "meta/outcome": np.zeros(n),
        "train/sample_id": np.sort(ids[originals:]),
        "train/box": boxes(train),
        "train/box_source": np.ones(train),
        "train/outcome": np.full(train, schema.FALLBACK),
        "train/label": rng.integers(0, 2, train),
        "look/sample_id": ids[:originals],
    }
    header = Header(
        dataset="noise",
        class_names=("ring", "cross"),
        group_names=("temple", "garden"),
        fills=(schema.NO_FILL, "grey", "random"),
        box_sources=("given", "centre"),
        settings={"size": width, "seed": seed},
        matte={"name": "given", "sha256": None, "licence": None},
        fingerprint="0" * 64,
        seed=seed,
        tool_version="0",
    )
    images = rng.integers(0, 256, (n, height, width, 3), np.uint8)
    mattes = rng.integers(0, 256, (originals, height, width), np.uint8)
    return Parts(header, {k: v.astype(schema.FIELDS[k].dtype) for k, v in tables.items()}, images, mattes)


@pytest.fixture
def parts() -> Parts:
    """The parts of one small valid shard."""
    return make_parts()


@pytest.fixture
def shard(parts, tmp_path) -> Path:
    """One small valid shard on disk."""
    return parts.write(tmp_path / "good.h5")
