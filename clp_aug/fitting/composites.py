"""Training pairs made on the fly: the matte is known because the pictures are composed here.

Item i is a pure function of the seed and i: no order, no state, any number of workers. Source: sizes and shares are
ours; a fresh background for each use of a foreground as in Qiao et al., CVPR 2020.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import cv2
import numpy as np

from clp_aug.contract.errors import UsageError
from clp_aug.contract.seeds import rng_for
from clp_aug.fitting.shapes import EDGES, OUTLINES, Place, outline, place, soften

NATURAL, MOVED, CUTOUT, SEVERAL, SHAPE = "natural", "moved", "cutout", "several", "shape"
BOXED, EMPTY = "boxed", "empty"
SHARES = {NATURAL: 0.20, MOVED: 0.18, CUTOUT: 0.22, SEVERAL: 0.06, SHAPE: 0.06, BOXED: 0.16, EMPTY: 0.12}
SMALL = 0.20  # share of items that are shrunk to SIDES and enlarged again: they look like thumbnails
SIDES = (32, 64)
ONE, EACH = (
    (0.05, 0.70),
    (0.05, 0.30),
)  # fraction of the picture's area: one object's rectangle, each of several
WINDOW = (0.6, 1.0)  # of a natural picture's sides
INSIDE = 0.25  # weight inside a drawn box: most of it is the object
GREY = 0.05  # share of pictures without colour
LUMA = np.array([0.299, 0.587, 0.114])


Thing = TypeVar("Thing")
Pair = tuple[np.ndarray, np.ndarray]
"""A picture, uint8 (H, W, 3) RGB, and alpha, float32 (H, W) in [0, 1]."""


class Truth(NamedTuple):
    """A picture and its ground truth: uint8 (H, W, 3) RGB, alpha and weight float32 (H, W) in [0, 1].

    weight is 0 where the truth is unknown (the grey band of a trimap), INSIDE in a drawn box of an item, 1 elsewhere.
    It weights the losses of pixels.
    """

    picture: np.ndarray
    alpha: np.ndarray
    weight: np.ndarray


class Plan(NamedTuple):
    """The plan of item i: a kind of SHARES, and the side to which it is shrunk in between, 0 for none."""

    kind: str
    side: int


@dataclass(frozen=True, eq=False)
class Composites:
    """Endless training pairs, (size, size) pixels each.

    foregrounds: (picture, alpha) a cut-out, uint8 (h, w, 3) and float32 (h, w); backgrounds: uint8 (h, w, 3) pictures
    without an object; naturals: Truth of real pictures; boxed: Truth of real pictures with a known box but no matte:
    alpha 1 and weight 0 inside the box; items have weight INSIDE there. Kinds without material are left out, and the
    others take their share. Raises UsageError without backgrounds.
    """

    foregrounds: Sequence[Pair]
    backgrounds: Sequence[np.ndarray]
    naturals: Sequence[Truth]
    seed: int
    size: int = 224
    boxed: Sequence[Truth] = ()

    def __post_init__(self) -> None:
        if not len(self.backgrounds):
            raise UsageError("0 backgrounds: expected at least 1 picture without an object; add one")

    @property
    def shares(self) -> dict[str, float]:
        """The probability of each kind; they sum to 1."""
        needs = {
            NATURAL: self.naturals, MOVED: self.naturals, CUTOUT: self.foregrounds, SEVERAL: self.foregrounds,
            BOXED: self.boxed,
        }  # fmt: skip
        kept = {kind: share for kind, share in SHARES.items() if len(needs.get(kind, self.backgrounds))}
        return {kind: share / sum(kept.values()) for kind, share in kept.items()}

    def plan(self, index: int) -> Plan:
        """Return what item `index` will be."""
        rng, shares = rng_for(self.seed, index, "plan"), self.shares
        kind = str(rng.choice(list(shares), p=list(shares.values())))
        return Plan(kind, int(rng.integers(SIDES[0], SIDES[1] + 1)) if rng.random() < SMALL else 0)

    def item(self, index: int) -> Truth:
        """Return one training pair; weight is 1 wherever the picture was composed here."""
        plan, rng = self.plan(index), rng_for(self.seed, index, "colour")
        truth = self.compose(index, plan.kind)
        picture = jitter(truth.picture, rng)
        return truth._replace(picture=through(picture, plan.side) if plan.side else picture)

    def compose(self, index: int, kind: str) -> Truth:
        """Return the pair before changes of colours and size."""
        rng = rng_for(self.seed, index, "objects")
        if kind == NATURAL:
            return self.natural(self.naturals, 0, rng)
        if kind == BOXED:
            return self.natural(self.boxed, INSIDE, rng)
        picture = self.background(rng_for(self.seed, index, "background"))
        if kind == MOVED:
            return self.moved(picture, rng)
        alpha = np.zeros((self.size, self.size), np.float32)
        if kind == SHAPE:
            picture, alpha = self.shape(picture, rng)
        elif kind != EMPTY:
            for _ in range(1 if kind == CUTOUT else int(rng.integers(2, 4))):
                picture, alpha = self.cutout(picture, alpha, ONE if kind == CUTOUT else EACH, rng)
        return Truth(picture, alpha, np.ones_like(alpha))

    def background(self, rng: np.random.Generator) -> np.ndarray:
        """Return a square window of a random background, 0.5 to 1 of its shorter side, half of them mirrored."""
        picture = pick(self.backgrounds, rng)
        side = max(1, round(min(picture.shape[:2]) * rng.uniform(0.5, 1)))
        return resized(maybe_mirror(window(picture.shape, side, side, rng), rng)(picture), self.size, self.size)

    def natural(self, pictures: Sequence[Truth], unknown: float, rng: np.random.Generator) -> Truth:
        """Return a window of a random picture, mirrored in half of all cases.

        Pixels that blend with unknown ones are unknown. unknown: their weight.
        """
        truth = pick(pictures, rng)
        height, width = (max(1, round(n * rng.uniform(*WINDOW))) for n in truth.alpha.shape)
        cut = maybe_mirror(window(truth.alpha.shape, height, width, rng), rng)
        picture, alpha, weight = (resized(cut(part), self.size, self.size) for part in truth)
        return Truth(picture, np.clip(alpha, 0, 1), np.where(weight > 0.999, 1, unknown).astype(np.float32))

    def moved(self, picture: np.ndarray, rng: np.random.Generator) -> Truth:
        """Return the object of a random natural picture on another background; its unknown pixels stay unknown."""
        truth = pick(self.naturals, rng)
        x, y, width, height = cv2.boundingRect((truth.alpha > 0).view(np.uint8))
        nothing = np.zeros((self.size, self.size), np.float32)
        if not width:
            return Truth(picture, nothing, np.ones_like(nothing))
        cut = maybe_mirror((slice(y, y + height), slice(x, x + width)), rng)
        pixels, cover, certain = (cut(part) for part in truth)
        where = place(rng.uniform(*ONE), width / height, self.size, rng)
        _, unknown = paste(picture, nothing, pixels, 1 - certain, where)
        picture, alpha = paste(picture, nothing, jitter(pixels, rng), cover, where)
        return Truth(picture, alpha, (unknown < 1e-3).astype(np.float32))

    def cutout(
        self, picture: np.ndarray, alpha: np.ndarray, shares: tuple[float, float], rng: np.random.Generator
    ) -> Pair:
        """Return picture and alpha with one more foreground, of random size, place and colours."""
        pixels, cover = pick(self.foregrounds, rng)
        flip = maybe_mirror(slice(None), rng)
        where = place(rng.uniform(*shares), cover.shape[1] / cover.shape[0], self.size, rng)
        return paste(picture, alpha, jitter(flip(pixels), rng), flip(cover), where)

    def shape(self, picture: np.ndarray, rng: np.random.Generator) -> Pair:
        """Return the picture with a procedural shape in front, textured by another background, and its alpha."""
        where = place(rng.uniform(*ONE), float(np.exp(rng.uniform(-1, 1))), self.size, rng)
        cover = soften(outline(str(rng.choice(list(OUTLINES))), where, self.size, rng), str(rng.choice(EDGES)), rng)
        texture = jitter(self.background(rng), rng)
        return paste(picture, np.zeros_like(cover), texture, cover, (0, 0, self.size, self.size))


def pick(things: Sequence[Thing], rng: np.random.Generator) -> Thing:
    """Return one of them."""
    return things[int(rng.integers(len(things)))]


def window(shape: Sequence[int], height: int, width: int, rng: np.random.Generator) -> tuple[slice, slice]:
    """Return a random window of that size in a picture of that shape."""
    top, left = int(rng.integers(shape[0] - height + 1)), int(rng.integers(shape[1] - width + 1))
    return slice(top, top + height), slice(left, left + width)


def maybe_mirror(part: Any, rng: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function that takes this part of an array, mirrored left to right in half of all cases."""
    flip = rng.random() < 0.5
    return lambda array: array[part][:, ::-1] if flip else array[part]


def resized(array: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return (height, width[, 3]) of any array: averaged over areas when both sides shrink, else bilinear."""
    shrinking = array.shape[0] >= height and array.shape[1] >= width
    method = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
    return cv2.resize(np.ascontiguousarray(array), (width, height), interpolation=method)


def paste(picture: np.ndarray, alpha: np.ndarray, pixels: np.ndarray, cover: np.ndarray, where: Place) -> Pair:
    """Return new picture and alpha: C = a F + (1 - a) B at one place, in numbers from 0 to 255.

    picture: uint8 (S, S, 3); alpha: float32 (S, S), of all objects so far; pixels, cover: uint8 (h, w, 3) and float32
    (h, w) in [0, 1], resized to the place. Colours are multiplied by their cover before resizing, so that hidden
    colours of a cut-out do not bleed in. Pixels with cover 0 stay bit-identical.
    """
    left, top, width, height = where
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + width, len(picture)), min(top + height, len(picture))
    inside = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
    front = resized(pixels * cover[..., None], width, height)[inside]
    cover = np.clip(resized(cover, width, height)[inside], 0, 1)
    picture, alpha, here = picture.copy(), alpha.copy(), (slice(y0, y1), slice(x0, x1))
    blend = front + picture[here] * (1 - cover[..., None])
    picture[here] = np.clip(blend, 0, 255).round().astype(np.uint8)
    alpha[here] = 1 - (1 - alpha[here]) * (1 - cover)
    return picture, alpha


def jitter(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return uint8 (H, W, 3) with random brightness, contrast, saturation and colour balance."""
    gain = np.exp(rng.uniform(-0.3, 0.3) + rng.uniform(-0.1, 0.1, 3))  # per channel
    saturation = 0.0 if rng.random() < GREY else rng.uniform(0.5, 1.4)
    contrast, middle = rng.uniform(0.7, 1.3), rng.uniform(96, 160)
    mixed = saturation * np.eye(3) + (1 - saturation) * LUMA
    matrix = np.concatenate([contrast * gain[:, None] * mixed, np.full((3, 1), (1 - contrast) * middle)], 1)
    return np.clip(cv2.transform(picture.astype(np.float32), matrix), 0, 255).round().astype(np.uint8)


def through(picture: np.ndarray, side: int) -> np.ndarray:
    """Return uint8 (S, S, 3), shrunk to a thumbnail of (side, side) and enlarged again."""
    size = len(picture)
    return cv2.resize(resized(picture, side, side), (size, size), interpolation=cv2.INTER_CUBIC)
