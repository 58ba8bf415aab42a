"""What several test files build: shards written at once, and the parts of a small one."""

import dataclasses
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import numpy as np

from clp_aug.common.files import written_beside
from clp_aug.contract import schema
from clp_aug.contract.blank import Blank, lay_out
from clp_aug.contract.errors import InputError
from clp_aug.contract.schema import DIGESTS, FIELDS, SEAL, Header


def write_shard(
    path: Path, header: Header, tables: dict[str, np.ndarray], pictures: dict[str, Iterable[np.ndarray]]
) -> None:
    """Write one shard under its final name only when it is complete.

    tables: every small data set of the contract by name, whole; pictures: "meta/images" and, if wanted,
    "look/matte", each as blocks (n, H, W[, 3]) uint8 in row order, so memory stays that of one block.
    Raises InputError when the blocks do not add up to the tables' rows, or the disk refuses.
    """
    streams = {name: iter(blocks) for name, blocks in pictures.items()}
    head = {name: next(blocks, None) for name, blocks in streams.items()}
    sizes = {"N": len(tables["meta/label"]), "M": len(tables["train/sample_id"])}
    sizes |= dict(zip("HW", head["meta/images"].shape[1:3], strict=True), K=len(tables.get("look/sample_id", ())))
    with written_beside(path) as temporary:
        wanted = {*tables, *pictures, SEAL, *(DIGESTS[name] for name in pictures)}
        lay_out(temporary, header, [name for name in FIELDS if name in wanted], sizes)
        with Blank(temporary) as blank:
            for name, values in tables.items():
                blank.fill(name, 0, values)
            for name, blocks in streams.items():
                _fill_pictures(blank, name, sizes, chain([] if head[name] is None else [head[name]], blocks))
            blank.seal()


def _fill_pictures(blank: Blank, name: str, sizes: dict[str, int], blocks: Iterable[np.ndarray]) -> None:
    rows, *shape = (sizes.get(side, side) for side in FIELDS[name].shape)
    done = 0
    for block in blocks:
        if block.shape[1:] != tuple(shape) or block.dtype != np.uint8:
            raise InputError(f"{name}: a block of {block.dtype} {block.shape[1:]} came, expected uint8 {tuple(shape)}")
        if done + len(block) > rows:
            raise InputError(f"{name}: more than {rows} pictures came for {rows} rows of the tables")
        blank.fill(name, done, block)
        done += len(block)
    if done != rows:
        raise InputError(f"{name}: {done} pictures came for {rows} rows of the tables")


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
