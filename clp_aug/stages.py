"""The two stages that do work per picture: MATTE + BOX, and INFILL. Picklable, so that any engine can run them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from clp_aug.config import AugmentConfig
from clp_aug.contract.schema import NO_FILL, ORIGINAL
from clp_aug.contract.seeds import rng_for
from clp_aug.datasets.base import Dataset
from clp_aug.fills import infill
from clp_aug.fills.scene import Materials, Scene
from clp_aug.mattes import make_chain
from clp_aug.mattes.chain import locate
from clp_aug.mattes.view import View
from clp_aug.sharding import Copy, Staging

Span = tuple[int, int, int]  # block number, first row, row after the last


class _Stage:
    """What both stages share: nothing of what a worker builds for itself travels to another process."""

    def __getstate__(self) -> dict:
        return {name: value for name, value in self.__dict__.items() if name not in ("chain", "materials")}


@dataclass
class BoxStage(_Stage):
    """MATTE and BOX for the rows of one part ("meta" or "train"); the meta part keeps its mattes for people."""

    dataset: Dataset
    rows: np.ndarray
    config: AugmentConfig
    staging: Staging
    part: str

    @staticmethod
    def name_of(part: str) -> str:
        """Return the stage's name in the staging folder."""
        return f"boxes-{part}"

    @property
    def stage(self) -> str:
        """The stage's name in the staging folder."""
        return self.name_of(self.part)

    @cached_property
    def chain(self) -> list:
        """The mattes, loaded once a process."""
        return make_chain(self.config.matte)

    def __call__(self, span: Span) -> int:
        """Locate the pictures of one block, save their boxes, return how many there were."""
        number, start, stop = span
        found = [
            locate(View(self.dataset, row, self.config.size, self.config.fit), self.chain, self.config.pad)
            for row in self.rows[start:stop]
        ]
        arrays = {
            "box": np.array([one.box for one in found], np.int32),
            "box_source": np.array([one.source for one in found], np.uint8),
            "outcome": np.array([one.outcome for one in found], np.uint8),
        }
        if self.part == "meta":
            arrays["matte"] = np.stack([one.matte for one in found])
        self.staging.save(self.stage, number, arrays)
        return stop - start


@dataclass
class InfillStage(_Stage):
    """INFILL for the meta originals: each original, and behind it its copies, in the order of the plan."""

    dataset: Dataset
    rows: np.ndarray
    boxes: np.ndarray
    copies: list[list[Copy]]
    fills: tuple[str, ...]
    config: AugmentConfig
    base_materials: Materials
    staging: Staging

    stage = "infill"

    @cached_property
    def materials(self) -> Materials:
        """What the fills may draw on, with this meta set's partners."""
        return dataclasses.replace(self.base_materials, partners=self.partners)

    def scene(self, i: int) -> Scene:
        """Return the i-th meta original with its box."""
        row = int(self.rows[i])
        image = self.dataset.image(row, self.config.size, self.config.fit)
        return Scene(image, tuple(map(int, self.boxes[i])), int(self.dataset.samples.label[row]))

    def partners(self, label: int, rng: np.random.Generator) -> Iterator[Scene]:
        """Yield meta originals of other classes in a random order, each once, decoded only when taken."""
        others = np.flatnonzero(self.dataset.samples.label[self.rows] != label)
        return (self.scene(int(i)) for i in rng.permutation(others))

    def __call__(self, span: Span) -> int:
        """Fill the pictures of one block, save them, return how many originals there were."""
        number, start, stop = span
        images, kinds, fills, originals = [], [], [], []
        for i in range(start, stop):
            scene = self.scene(i)
            rows = [(scene.image, ORIGINAL, NO_FILL)]
            for copy in self.copies[i]:
                sample_id = int(self.dataset.samples.sample_id[self.rows[i]])
                rng = rng_for(self.config.seed, sample_id, f"{copy.fill}/{copy.number}")
                image, used = infill(copy.fill, copy.kind, scene, rng, self.materials)
                rows.append((image, copy.kind, used))
            for image, kind, fill in rows:
                images.append(image)
                kinds.append(kind)
                fills.append(self.fills.index(fill))
                originals.append(i)
        arrays = {
            "images": np.stack(images),
            "kind": np.array(kinds, np.uint8),
            "fill": np.array(fills, np.uint8),
            "original": np.array(originals, np.int64),
        }
        self.staging.save(self.stage, number, arrays)
        return stop - start
