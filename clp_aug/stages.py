"""The work per picture: MATTE + BOX, and INFILL. One picklable task for both, so that any engine can run them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from clp_aug.auditing.mixing import Made, Mixer, Pool, alpha_of
from clp_aug.checking import Look
from clp_aug.config import AugmentConfig
from clp_aug.contract.audits import MATTE
from clp_aug.contract.draws import generators
from clp_aug.contract.rereading import Reread
from clp_aug.contract.schema import NO_FILL
from clp_aug.contract.shards import ShardReader
from clp_aug.datasets.base import Dataset
from clp_aug.fills import infill
from clp_aug.fills.scene import Materials, Scene
from clp_aug.mattes import Matte, make_chain
from clp_aug.mattes.chain import Located, locate
from clp_aug.mattes.picture import Picture
from clp_aug.mattes.refine import refine
from clp_aug.placing import Devices
from clp_aug.sharding import Copy, others_in_random_order
from clp_aug.staging import Rows

COLUMNS = ("box", "box_source", "outcome")  # the columns of a box in the contract
INFILLED = ("meta/images", "meta/fill")
INFILLED_IN_AUDITS = (*INFILLED, "meta/background_id")
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
        """The name of its mark."""
        return f"{self.stage}-{self.number:06d}"


@dataclass(frozen=True)
class Decode:
    """A request for pictures of some rows of the data set, int64 (n,). digests: whether to return those of files,
    too.
    """

    rows: np.ndarray
    digests: bool


@dataclass(frozen=True)
class Refine:
    """A row of the data set and the matte of its picture, uint8 (size, size), for solving its edge again."""

    row: int
    matte: np.ndarray


class Folder(Protocol):
    """The place where blocks are written and read: `Staging`, or its replacement in a worker."""

    def fill(self, name: str, start: int, values: np.ndarray | Sequence[np.ndarray]) -> None: ...
    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray: ...
    def mark(self, block: str, rows: Rows, pictures: Mapping[str, str]) -> None: ...
    def has(self, block: str, rows: Rows, pictures: Callable[[], Mapping[str, str]]) -> bool: ...


@dataclass
class Stages:
    """Everything that a worker needs for any block. It writes the block into `staging` and marks it as done.

    meta, train: rows of the data set; copies: per meta original, the copies to make; fills: names by index. Original i
    is at row i * (1 + ratio) of the shard, followed by its copies. devices: of the networks, in a process that does the
    blocks of their stage.
    """

    dataset: Dataset
    meta: np.ndarray
    train: np.ndarray
    copies: list[list[Copy]]
    fills: tuple[str, ...]
    config: AugmentConfig
    size: int
    matte: str
    staging: Folder
    devices: Devices
    reader: ShardReader | None = None  # of the shard, when it is complete

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def __call__(self, block: Block | Look | Decode | Refine | Reread) -> Any:
        """Do one block, unless it is done, and return its number of pictures; for other requests their result."""
        if isinstance(block, Look):
            return block.at(self.dataset)
        if isinstance(block, Decode):
            return self.decode(block)
        if isinstance(block, Refine):
            return self.refined(block)
        if isinstance(block, Reread):
            self.reader = self.reader or ShardReader(block.path)
            return block.at(self.reader)
        if not self.has(block):
            self.make(block)
            self.mark(block, self.digests_of(block))
        return block.stop - block.start

    def has(self, block: Block) -> bool:
        """Return whether a block is finished."""
        return self.staging.has(block.name, self.rows_of(block), lambda: self.digests_of(block))

    def mark(self, block: Block, digests: dict[str, str]) -> None:
        """Note that a block is finished. digests: of its pictures, from `digests_of`."""
        self.staging.mark(block.name, self.rows_of(block), digests)

    def decode(self, wanted: Decode) -> tuple[list[np.ndarray], dict[str, str]]:
        """Return pictures at the run's size, uint8 (size, size, 3), and, if wanted, their digests by name."""
        images = [self.dataset.image(row, self.size, self.config.fit) for row in wanted.rows.tolist()]
        return images, self.digests(wanted.rows) if wanted.digests else {}

    def make(self, block: Block) -> None:
        """Fill the rows of a block."""
        if block.stage == "infill":
            self.make_copies(block)
        else:
            located = self.locate(self.originals(block))
            self.write_boxes(block, located, [self.refined(wanted) for wanted in self.to_refine(block, located)])

    def to_refine(self, block: Block, located: Sequence[Located], first: int = 0) -> list[Refine]:
        """Return the refinements of some pictures of a block: only mattes that are kept for viewing.

        located: of the pictures from the block's `first` on.
        """
        if block.stage == "boxes-train" or not self.config.refine:
            return []
        rows = self.originals(block)[first : first + len(located)].tolist()
        return [Refine(row, one.matte) for row, one in zip(rows, located, strict=True)]

    def refined(self, wanted: Refine) -> np.ndarray:
        """Return a matte, uint8 (size, size), with its edge solved again."""
        return refine(self.dataset.image(wanted.row, self.size, self.config.fit), wanted.matte)

    def rows_of(self, block: Block) -> Rows:
        """Return the rows that a block fills, by data set of the shard."""
        of_meta = (block.start * self.rows_each, block.stop * self.rows_each)
        if block.stage == "infill":
            return dict.fromkeys(INFILLED_IN_AUDITS if self.config.audit else INFILLED, of_meta)
        if block.stage == "boxes-train":
            return {f"train/{name}": (block.start, block.stop) for name in COLUMNS}
        return {"look/matte": (block.start, block.stop)} | {f"meta/{name}": of_meta for name in COLUMNS}

    def digests_of(self, block: Block) -> dict[str, str]:
        """Return the digest of each picture whose box a block finds, by name; empty for infills: they use the same
        pictures.
        """
        if block.stage == "infill":
            return {}
        return self.digests(self.originals(block))

    def digests(self, rows: np.ndarray) -> dict[str, str]:
        """Return the digest of each picture of some rows, by name."""
        name = self.dataset.samples.name
        return {name[row]: self.dataset.digest(np.array([row]))[:DIGEST_LETTERS] for row in rows.tolist()}

    def originals(self, block: Block) -> np.ndarray:
        """Return the rows of the data set for a block, int64 (n,)."""
        return (self.train if block.stage == "boxes-train" else self.meta)[block.start : block.stop]

    @property
    def rows_each(self) -> int:
        """Rows of the shard per original: itself and its copies."""
        return 1 + len(self.copies[0])

    @cached_property
    def chain(self) -> list[Matte]:
        """The mattes, loaded once per process."""
        return make_chain(self.matte, self.devices.matte)

    def locate(self, rows: np.ndarray) -> list[Located]:
        """MATTE and BOX for some rows, one by one."""
        config = self.config
        return [locate(Picture(self.dataset, row, self.size, config.fit), self.chain, config.pad) for row in rows]

    def write_boxes(self, block: Block, located: Sequence[Located], refined: Sequence[np.ndarray]) -> None:
        """Fill the rows of a block: copies get the boxes of their meta originals; the mattes are kept for viewing.
        refined: the mattes of `to_refine`.
        """
        columns = {
            "box": np.array([one.box for one in located]),
            "box_source": np.array([one.source for one in located]),
            "outcome": np.array([one.outcome for one in located]),
        }  # COLUMNS
        if block.stage == "boxes-train":
            for name, values in columns.items():
                self.staging.fill(f"train/{name}", block.start, values)
            return
        for name, values in columns.items():
            self.staging.fill(f"meta/{name}", block.start * self.rows_each, np.repeat(values, self.rows_each, 0))
        mattes = refined or [one.matte for one in located]
        self.staging.fill("look/matte", block.start, np.stack(mattes))

    @cached_property
    def boxes(self) -> np.ndarray:
        """Boxes of the meta originals, int32 (originals, 4), after all of them were found."""
        return self.staging.read("meta/box")[:: self.rows_each]

    @cached_property
    def materials(self) -> Materials:
        """The materials of the fills, with this meta set's partners."""
        return Materials(self.partners, len(self.dataset.class_names), self.devices.fills)

    def scene(self, i: int) -> Scene:
        """Return the i-th meta original with its box."""
        return self.scene_of(i, self.dataset.image(int(self.meta[i]), self.size, self.config.fit))

    def scene_of(self, i: int, image: np.ndarray) -> Scene:
        """Return the i-th meta original with its box, from its picture, uint8 (size, size, 3)."""
        box, label = tuple(self.boxes[i].tolist()), int(self.dataset.samples.label[self.meta[i]])
        return Scene(
            image, box, label, alpha_of(self.staging.read("look/matte", i, i + 1)[0], box) if self.cuts_out else None
        )

    @property
    def cuts_out(self) -> bool:
        """Whether objects are cut out by their mattes: in an audit with paste "matte"."""
        return self.config.audit is not None and self.config.paste == MATTE

    def rng(self, i: int, copy: Copy) -> np.random.Generator:
        """Return the random numbers of a copy of the i-th meta original."""
        return self.rngs([(i, copy)])[0]

    def rngs(self, copies: Sequence[tuple[int, Copy]]) -> list[np.random.Generator]:
        """Return the random numbers of some copies, each with the number of its original."""
        sample_ids = self.dataset.samples.sample_id[self.meta[[i for i, _ in copies]]]
        return generators(self.config.seed, sample_ids, [f"{copy.fill}/{copy.number}" for _, copy in copies])

    def partners(self, label: int, rng: np.random.Generator) -> Iterator[Scene]:
        """Yield meta originals of other classes in a random order, each once, decoded on request."""
        return map(self.scene, others_in_random_order(self.meta_label, label, rng))

    @cached_property
    def meta_label(self) -> np.ndarray:
        """The class of each meta original, int64 (originals,)."""
        return self.dataset.samples.label[self.meta]

    @cached_property
    def mixer(self) -> Mixer | None:
        """The maker of an audit's views on other backgrounds; None without an audit."""
        if self.config.audit is None:
            return None
        samples, boxes = self.dataset.samples, self.staging.read("train/box")

        def scene(row: int) -> Scene:
            image = self.dataset.image(int(self.train[row]), self.size, self.config.fit)
            return Scene(image, tuple(boxes[row].tolist()), int(samples.label[self.train[row]]))

        pool = Pool(samples.sample_id[self.train], samples.label[self.train], boxes, self.size, scene)
        options = self.config.fill_options.get(self.config.remove)
        return Mixer(pool, self.config.remove, options, self.config.seed, self.materials)

    def make_copies(self, block: Block) -> None:
        """INFILL: the originals of a block, each followed by its copies in the order of the plan."""
        views, numbers = list[Made](), range(block.start, block.stop)
        rngs = iter(self.rngs([(i, copy) for i in numbers for copy in self.copies[i]]))
        for i in numbers:
            scene = self.scene(i)
            copies = [self.copy_of(i, scene, copy, next(rngs)) for copy in self.copies[i]]
            views += [Made(scene.image, NO_FILL), *copies]
        self.write_copies(block, views)

    def copy_of(self, i: int, scene: Scene, copy: Copy, rng: np.random.Generator | None = None) -> Made:
        """Return a copy of the i-th meta original. rng: its random numbers, by default from `rng`."""
        if self.mixer is not None and self.mixer.makes(copy):
            return self.mixer.view(int(self.dataset.samples.sample_id[self.meta[i]]), scene, copy)
        options = self.config.fill_options.get(copy.fill)
        return Made(*infill(copy.fill, copy.kind, scene, rng or self.rng(i, copy), self.materials, options))

    def write_copies(self, block: Block, views: Sequence[Made]) -> None:
        """Fill the rows of a block of pictures."""
        start = block.start * self.rows_each
        self.staging.fill("meta/images", start, [view.image for view in views])
        self.staging.fill("meta/fill", start, np.array([self.fills.index(view.fill) for view in views]))
        if self.config.audit is not None:
            self.staging.fill("meta/background_id", start, np.array([view.background_id for view in views]))
