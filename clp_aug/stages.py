"""The work per picture: MATTE + BOX, and INFILL. One picklable task for both, so that any engine can run them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from clp_aug.checking import Look
from clp_aug.config import AugmentConfig
from clp_aug.contract.seeds import rng_for
from clp_aug.datasets.base import Dataset
from clp_aug.datasets.unreadable import Unreadable
from clp_aug.fills import infill
from clp_aug.fills.scene import Materials, Scene
from clp_aug.mattes import Matte, make_chain
from clp_aug.mattes.chain import Located, locate
from clp_aug.mattes.picture import Picture
from clp_aug.mattes.refine import refine
from clp_aug.sharding import Copy
from clp_aug.staging import Rows, Staging

COLUMNS = ("box", "box_source", "outcome")  # what a box is in the contract
DIGEST_LETTERS = 16


@dataclass(frozen=True)
class Block:
    """Some rows of one stage: "boxes-meta", "boxes-train" or "infill"."""

    stage: str
    number: int
    start: int
    stop: int

    @property
    def name(self) -> str:
        """What its mark is called."""
        return f"{self.stage}-{self.number:06d}"


@dataclass
class Stages:
    """What a worker needs to do any block. It fills the shard in place and marks the block done.

    meta, train: rows of the data set; copies: per meta original, the copies to make; fills: names by index.
    Original i stands at row i * (1 + ratio) of the shard, its copies behind it.
    """

    dataset: Dataset
    meta: np.ndarray
    train: np.ndarray
    copies: list[list[Copy]]
    fills: tuple[str, ...]
    config: AugmentConfig
    size: int
    matte: str
    staging: Staging

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def __call__(self, block: Block | Look) -> int | list[Unreadable]:
        """Do one block, unless it is done; return how many pictures it had, of a look which cannot be read."""
        if isinstance(block, Look):
            return block.at(self.dataset)
        rows = self.rows_of(block)
        if not self.staging.has(block.name, rows, lambda: self.digests_of(block)):
            self.make(block)
            self.staging.mark(block.name, rows, self.digests_of(block))
        return block.stop - block.start

    def make(self, block: Block) -> None:
        """Fill the rows of a block."""
        {"boxes-meta": self.box_meta, "boxes-train": self.box_train, "infill": self.make_copies}[block.stage](block)

    def rows_of(self, block: Block) -> Rows:
        """Return which rows of which data sets a block fills."""
        of_meta = (block.start * self.rows_each, block.stop * self.rows_each)
        if block.stage == "infill":
            return {"meta/images": of_meta, "meta/fill": of_meta}
        if block.stage == "boxes-train":
            return {f"train/{name}": (block.start, block.stop) for name in COLUMNS}
        return {"look/matte": (block.start, block.stop)} | {f"meta/{name}": of_meta for name in COLUMNS}

    def digests_of(self, block: Block) -> dict[str, str]:
        """Return the digest of each picture whose box a block finds, by name; infills are made of the same pictures."""
        if block.stage == "infill":
            return {}
        rows = (self.meta if block.stage == "boxes-meta" else self.train)[block.start : block.stop]
        name = self.dataset.samples.name
        return {name[row]: self.dataset.digest(np.array([row]))[:DIGEST_LETTERS] for row in rows.tolist()}

    @property
    def rows_each(self) -> int:
        """Rows of the shard an original takes: itself and its copies."""
        return 1 + self.config.ratio

    @cached_property
    def chain(self) -> list[Matte]:
        """The mattes, loaded once a process."""
        return make_chain(self.matte)

    def locate(self, rows: np.ndarray) -> tuple[list[Located], dict[str, np.ndarray]]:
        """MATTE and BOX for some rows: what was found, and as columns of the contract."""
        config = self.config
        located = [locate(Picture(self.dataset, row, self.size, config.fit), self.chain, config.pad) for row in rows]
        columns = {
            "box": np.array([one.box for one in located]),
            "box_source": np.array([one.source for one in located]),
            "outcome": np.array([one.outcome for one in located]),
        }  # COLUMNS
        return located, columns

    def box_train(self, block: Block) -> None:
        """Boxes of training pictures."""
        _, columns = self.locate(self.train[block.start : block.stop])
        for name, values in columns.items():
            self.staging.fill(f"train/{name}", block.start, values)

    def box_meta(self, block: Block) -> None:
        """Boxes of meta originals, for their copies too, and their mattes for people."""
        located, columns = self.locate(self.meta[block.start : block.stop])
        for name, values in columns.items():
            self.staging.fill(f"meta/{name}", block.start * self.rows_each, np.repeat(values, self.rows_each, 0))
        mattes = [one.matte for one in located]
        if self.config.refine:
            size, fit = self.size, self.config.fit
            rows = self.meta[block.start : block.stop]
            mattes = [refine(self.dataset.image(row, size, fit), m) for row, m in zip(rows, mattes, strict=True)]
        self.staging.fill("look/matte", block.start, np.stack(mattes))

    @cached_property
    def boxes(self) -> np.ndarray:
        """Boxes of the meta originals, int32 (originals, 4), once all of them are there."""
        return self.staging.read("meta/box")[:: self.rows_each]

    @cached_property
    def materials(self) -> Materials:
        """What the fills may draw on, with this meta set's partners."""
        return Materials(self.partners, len(self.dataset.class_names))

    def scene(self, i: int) -> Scene:
        """Return the i-th meta original with its box."""
        row = int(self.meta[i])
        image = self.dataset.image(row, self.size, self.config.fit)
        return Scene(image, tuple(self.boxes[i].tolist()), int(self.dataset.samples.label[row]))

    def partners(self, label: int, rng: np.random.Generator) -> Iterator[Scene]:
        """Yield meta originals of other classes in a random order, each once, decoded only when taken."""
        others = np.flatnonzero(self.dataset.samples.label[self.meta] != label)
        return (self.scene(int(i)) for i in rng.permutation(others))

    def make_copies(self, block: Block) -> None:
        """INFILL: the originals of a block, each followed by its copies in the order of the plan."""
        images, fills = [], []
        for i in range(block.start, block.stop):
            scene = self.scene(i)
            sample_id = int(self.dataset.samples.sample_id[self.meta[i]])
            images.append(scene.image)
            fills.append(0)
            for copy in self.copies[i]:
                rng = rng_for(self.config.seed, sample_id, f"{copy.fill}/{copy.number}")
                options = self.config.fill_options.get(copy.fill)
                image, used = infill(copy.fill, copy.kind, scene, rng, self.materials, options)
                images.append(image)
                fills.append(self.fills.index(used))
        self.staging.fill("meta/images", block.start * self.rows_each, images)
        self.staging.fill("meta/fill", block.start * self.rows_each, np.array(fills))
