"""INFILL of an audit: the object on backgrounds of other pictures. The objects of those pictures are removed first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from clp_aug.contract import boxes
from clp_aug.contract.audits import MIX_OWN, MIX_SAME, MIXES
from clp_aug.contract.boxes import Box
from clp_aug.contract.schema import COUNTERFACTUAL, FACTUAL, GREY, NO_BACKGROUND
from clp_aug.contract.seeds import rng_for
from clp_aug.fills import infill
from clp_aug.fills.options import FillOptions
from clp_aug.fills.scene import Materials, Scene, compose, crop
from clp_aug.sharding import Copy

MOST_OBJECT = 0.75  # of a picture that gives its background; above it, most of the background would be invented
KEPT, AT_ONCE = 256, 64  # pictures without their objects that a process keeps: from the pool, and audited ones
VISIBLE = 0.5  # a matte that never reaches this in its box cuts nothing out


@dataclass(frozen=True)
class Pool:
    """The pictures that give backgrounds. sample_id, label: int64 (M,); box: int32 (M, 4), in pixels of a picture of
    size x size; scene: row of the pool -> its picture with its box.
    """

    sample_id: np.ndarray
    label: np.ndarray
    box: np.ndarray
    size: int
    scene: Callable[[int], Scene]

    def choose(self, sample_id: int, label: int, fill: str, draw: int, seed: int) -> int | None:
        """Return the row of the pool that gives a picture its background, None if no picture of the pool can.

        fill: mix-same (background of the same class) or mix-other (of another class); never the picture itself. Other
        classes are equally likely, whatever their number of pictures. The draws of one picture repeat no row while
        there are enough.
        """
        usable = (self.sample_id != sample_id) & (boxes.area(self.box) <= MOST_OBJECT * self.size**2)
        usable &= (self.label == label) if fill == MIX_SAME else (self.label != label)
        rows = np.flatnonzero(usable)
        if not len(rows):
            return None
        classes = rng_for(seed, sample_id, fill).permutation(np.unique(self.label[rows])).tolist()
        turn, c = divmod(draw, len(classes))
        own = rng_for(seed, sample_id, f"{fill}/{classes[c]}").permutation(rows[self.label[rows] == classes[c]])
        return int(own[turn % len(own)])


class Recent:
    """A small cache: the last few values by key. A missing value is made."""

    def __init__(self, most: int) -> None:
        self.most, self.values = most, dict[int, Any]()

    def get(self, key: int, make: Callable[[], Any]) -> Any:
        """Return the value of a key."""
        if key not in self.values:
            self.values[key] = make()
            if len(self.values) > self.most:
                del self.values[next(iter(self.values))]
        return self.values[key]


@dataclass(frozen=True)
class Made:
    """One row of a shard. image: uint8 (H, W, 3); fill: the fill that was used; background_id: sample id of the picture
    that gave the background, -1 for none.
    """

    image: np.ndarray
    fill: str
    background_id: int = NO_BACKGROUND


class Mixer:
    """Makes the views of an audit that need a picture without its object. remove: the fill that removes the object;
    options: settings of this fill; seed: of the run.
    """

    def __init__(self, pool: Pool, remove: str, options: FillOptions | None, seed: int, materials: Materials) -> None:
        self.pool, self.remove, self.options, self.seed, self.materials = pool, remove, options, seed, materials
        self.of_pool, self.own = Recent(KEPT), Recent(AT_ONCE)

    def makes(self, copy: Copy) -> bool:
        """Return whether a copy is one of these views."""
        return copy.fill in MIXES or (copy.kind == COUNTERFACTUAL and copy.fill == self.remove)

    def view(self, sample_id: int, scene: Scene, copy: Copy) -> Made:
        """Return a view of a picture; its object on grey if there is no background for it."""
        if copy.kind == COUNTERFACTUAL:
            return Made(*self.own.get(sample_id, lambda: self.removed(sample_id, scene)))
        if copy.fill == MIX_OWN:
            own, used = self.own.get(sample_id, lambda: self.removed(sample_id, scene))
            if used == self.remove:
                return Made(compose(scene, FACTUAL, own[:, ::-1]), MIX_OWN)
        else:
            row = self.pool.choose(sample_id, scene.label, copy.fill, copy.number, self.seed)
            background, used = (scene.image, "") if row is None else self.of_pool.get(row, lambda: self.background(row))
            if row is not None and used == self.remove:
                return Made(compose(scene, FACTUAL, background), copy.fill, int(self.pool.sample_id[row]))
        return Made(compose(scene, FACTUAL, np.full_like(scene.image, GREY)), "grey")

    def background(self, row: int) -> tuple[np.ndarray, str]:
        """Return the background that a row of the pool gives, uint8 (H, W, 3), and the fill that was used."""
        return self.removed(int(self.pool.sample_id[row]), self.pool.scene(row))

    def removed(self, sample_id: int, scene: Scene) -> tuple[np.ndarray, str]:
        """Return a picture without its object, uint8 (H, W, 3), and the fill that was used."""
        rng = rng_for(self.seed, sample_id, f"{self.remove}/0")
        return infill(self.remove, COUNTERFACTUAL, scene, rng, self.materials, self.options)


def alpha_of(matte: np.ndarray, box: Box) -> np.ndarray | None:
    """Return the alpha that cuts an object out, float32 (H, W) in [0, 1], 0 outside the box. None if the matte shows
    nothing in the box: then the whole box is the object. matte: uint8 (H, W).
    """
    alpha = np.zeros(matte.shape, np.float32)
    crop(alpha, box)[...] = crop(matte, box) / np.float32(255)
    return alpha if alpha.max() >= VISIBLE else None
