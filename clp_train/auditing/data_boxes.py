"""AUDIT DATA: the boxes of pictures, from the shard, or found while held-out pictures are read.

A shard holds boxes of training and meta pictures only. The same matte finds the boxes of other splits. If the shard's
boxes came from masks or boxes of the data set, those of other splits do too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from clp_aug.common.progress import Watch, unwatched
from clp_aug.contract.schema import OK, ORIGINAL, OUTCOMES
from clp_aug.contract.shards import ShardReader
from clp_aug.datasets.base import TRAIN, Dataset
from clp_aug.nets.devices import CPU
from clp_train.auditing.data_features import Eyes
from clp_train.evaluating.outputs import BATCH, without_object
from clp_train.loading.data import Reader

GIVEN, FOUND_BY = "given", "hatt"
WITHOUT_FILES = (GIVEN, FOUND_BY, "grabcut", "centre")
"""Mattes that need nothing but their name."""
UNKNOWN = 255
"""Outcome of a picture whose box is not known yet."""


class FindBoxes(Protocol):
    """A function that finds boxes: `clp_aug.library.find_boxes`, which only the command may import."""

    def __call__(
        self, images: np.ndarray, matte: str, *, masks: Sequence[np.ndarray | None] | None, device: str
    ) -> tuple[np.ndarray, list[str]]: ...


@dataclass
class Boxes:
    """Boxes by row of a data set; more boxes become known while pictures are read.

    box: int64 (rows, 4), half-open pixels at the shard's size; outcome: uint8 (rows,), of the contract, UNKNOWN
    where there is no box yet; finder: finds missing boxes; matte: its matte; device: where the matte runs.
    """

    dataset: Dataset
    size: int
    fit: str
    matte: str
    box: np.ndarray
    outcome: np.ndarray
    finder: FindBoxes
    device: str = CPU

    def of(self, rows: np.ndarray, images: np.ndarray) -> np.ndarray:
        """Return the boxes of some rows, int64 (n, 4), and find unknown ones. images: uint8 (n, 3, S, S)."""
        missing = np.flatnonzero(self.outcome[rows] == UNKNOWN)
        if len(missing):
            self.find(rows[missing], np.ascontiguousarray(images[missing].transpose(0, 2, 3, 1)))
        found: np.ndarray = self.box[rows]
        return found

    def find(self, rows: np.ndarray, images: np.ndarray) -> None:
        """Find and store the boxes of some rows. images: uint8 (n, S, S, 3), their pictures."""
        masks: list[np.ndarray | None] | None = None
        if self.matte == GIVEN:
            for row in rows.tolist():
                if (own := self.dataset.box(row, self.size, self.fit)) is not None:
                    self.box[row], self.outcome[row] = own, OK
            left = self.outcome[rows] == UNKNOWN
            rows, images = rows[left], images[left]
            masks = [self.dataset.alpha(row, self.size, self.fit) for row in rows.tolist()]
        if len(rows):
            box, outcomes = self.finder(images, self.matte, masks=masks, device=self.device)
            self.box[rows], self.outcome[rows] = box, [OUTCOMES.index(outcome) for outcome in outcomes]


def known_boxes(
    shard: ShardReader, dataset: Dataset, size: int, fit: str, finder: FindBoxes, device: str = CPU
) -> Boxes:
    """Return the boxes of a shard's training pictures and meta originals by row of the data set; others are found
    later.

    Raises InputError for ids that the data set does not have.
    """
    tables, n = shard.tables, len(dataset.samples.sample_id)
    boxes = Boxes(
        dataset,
        size,
        fit,
        matte_of(shard),
        np.full((n, 4), -1, np.int64),
        np.full(n, UNKNOWN, np.uint8),
        finder,
        device,
    )
    originals = np.flatnonzero(tables["meta/kind"] == ORIGINAL)
    for stream, kept in (("meta", originals), ("train", slice(None))):
        rows = dataset.rows_of(tables[f"{stream}/sample_id"][kept])
        boxes.box[rows] = tables[f"{stream}/box"][kept]
        boxes.outcome[rows] = tables[f"{stream}/outcome"][kept]
    return boxes


def matte_of(shard: ShardReader) -> str:
    """Return the matte that finds further boxes: the shard's own, `hatt` if that is a plug-in or the user's file."""
    name = str(shard.header.matte.get("name"))
    return name if name in WITHOUT_FILES else FOUND_BY


def training_rows(boxes: Boxes) -> np.ndarray:
    """Return the rows of the train split that the shard has a box of, int64 (n,), ascending: meta pictures too."""
    return np.flatnonzero((boxes.dataset.samples.split == TRAIN) & (boxes.outcome != UNKNOWN))


def held_out_rows(dataset: Dataset) -> np.ndarray:
    """Return the rows of all other splits, int64 (n,), ascending."""
    return np.flatnonzero(dataset.samples.split != TRAIN)


def background_features(
    eyes: Eyes, boxes: Boxes, rows: np.ndarray, name: str, watch: Watch = unwatched, workers: int = 1
) -> Tensor:
    """Return the features of some rows, int64 (n,), without their objects, float32 (n, A), on the CPU.

    `workers` threads read the pictures in batches and keep none, so only the features need memory. Unknown boxes are
    found on the way. name: for the progress bar. Raises InputError for a picture that cannot be read.
    """
    if not len(rows):
        return torch.zeros(0, 0)
    reader = Reader(boxes.dataset, boxes.size, boxes.fit, watch, None, workers)
    return torch.cat(list(eyes.features(hidden_objects(reader, boxes, rows, name))))


def hidden_objects(reader: Reader, boxes: Boxes, rows: np.ndarray, name: str) -> Iterator[Tensor]:
    """Yield pictures of some rows without their objects, BATCH at a time: uint8 (n, 3, S, S), the boxes grey."""
    pictures = reader.decoded(rows, name)
    for part in np.split(rows, range(BATCH, len(rows), BATCH)):
        images = np.stack(list(islice(pictures, len(part))))
        yield without_object(torch.from_numpy(images), torch.from_numpy(boxes.of(part, images)))
