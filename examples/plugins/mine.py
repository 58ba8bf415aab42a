"""An own model, data set, method, fill and matte, in one file outside the package (docs/how-to/plugins.md).

    clp-augment --dataset mine.py:discs --cf mine.py:blend --f random --matte mine.py:Bright --set share=0.3
    clp-train --meta shards/discs-blend-random-seed0.h5 --dataset mine.py:discs --method mine.py:Halving \
        --model mine.py:small
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from clp_aug.common.settings import Settings, setting
from clp_aug.contract.boxes import Box
from clp_aug.contract.seeds import rng_for
from clp_aug.datasets.base import TEST, TRAIN, VAL, Dataset, Samples
from clp_aug.fills.options import FillOptions
from clp_aug.fills.scene import Materials, Scene, crop
from clp_aug.mattes import PictureLike
from clp_train.algorithm.characteristics import View
from clp_train.algorithm.method import Method
from clp_train.algorithm.objective import Terms

SIDE = 32
SPURIOUS = 0.8  # share of the training pictures whose ground tells the class
COUNTS = {TRAIN: 60, VAL: 10, TEST: 20}  # pictures a class


class Discs(Dataset):
    """Discs and squares on warm or cold ground. group = 2 * label + ground."""

    def __init__(self) -> None:
        rows = [(y, split, i) for split, count in COUNTS.items() for y in (0, 1) for i in range(count)]
        share = {TRAIN: SPURIOUS, VAL: 0.5, TEST: 0.5}
        self.ground = [y if i < COUNTS[split] * share[split] else 1 - y for y, split, i in rows]
        label, group = [y for y, _, _ in rows], [2 * y + g for (y, _, _), g in zip(rows, self.ground, strict=True)]
        names = [f"{y}-{split}-{i}" for y, split, i in rows]
        table = Samples.of(label, [split for _, split, _ in rows], names, group=group)
        super().__init__("discs", ("disc", "square"), table, ("disc warm", "disc cold", "square warm", "square cold"))

    def image(self, row: int, size: int | None = None, fit: str = "crop") -> np.ndarray:
        """Return uint8 (size, size, 3): a bright shape, drawn at the size that is asked for."""
        side, rng = size or SIDE, rng_for(0, row, "discs")
        y, x = np.mgrid[:side, :side] / side
        cy, cx, r = rng.uniform(0.35, 0.65, 2).tolist() + [rng.uniform(0.18, 0.26)]
        dy, dx = abs(y - cy), abs(x - cx)
        shape = np.hypot(dy, dx) < r if self.samples.label[row] == 0 else np.maximum(dy, dx) < r
        picture = np.zeros((side, side, 3)) + ((120, 60, 40), (40, 60, 120))[self.ground[row]]
        picture += rng.normal(0, 12, picture.shape)
        picture[shape] = 220
        return picture.clip(0, 255).astype(np.uint8)

    def source_size(self, row: int) -> tuple[int, int]:
        """Return (width, height)."""
        return SIDE, SIDE


def discs(root: Path | None = None) -> Dataset:
    """Return the data set. root: what --root says; this one needs none."""
    return Discs()


class Bright:
    """A matte: what is brighter than most of the picture."""

    def find(self, picture: PictureLike) -> np.ndarray:
        """Return float (size, size) in [0, 1]."""
        grey = picture.image.mean(2)
        return (grey > (grey.min() + grey.max()) / 2).astype(float)


@dataclass(frozen=True)
class BlendOptions(FillOptions):
    """The settings of the fill, for --set."""

    share: float = setting(0.2, "How much of the object blend leaves.", low=0, high=1)


def blend(scene: Scene, window: Box, rng: np.random.Generator, materials: Materials, options: BlendOptions):
    """The picture's mean colour, with a share of what was there."""
    there, colour = crop(scene.image, window), scene.image.mean((0, 1))
    return (options.share * there + (1 - options.share) * colour).round().astype(np.uint8)


@dataclass(frozen=True)
class HalvingOptions(Settings):
    """The settings of the method, for --set."""

    right_weight: float = setting(0.5, "What a picture that is right already weighs.", low=0, high=1)


class Halving(Method):
    """Pictures that are right already weigh less."""

    def __init__(self, options: HalvingOptions) -> None:
        self.right_weight = options.right_weight

    def terms(self, view: View) -> Terms:
        right = view.logits.argmax(1) == view.label
        return Terms(weight=torch.where(right, self.right_weight, 1.0).to(view.logits))


class Small(nn.Sequential):
    """Two convolutions, the mean over the picture, a linear layer."""

    def __init__(self, classes: int) -> None:
        super().__init__(*self.layers(), nn.Linear(16, classes))

    @staticmethod
    def layers() -> Iterator[nn.Module]:
        """Yield what comes before the last layer."""
        for before, after in ((3, 8), (8, 16)):
            yield from (nn.Conv2d(before, after, 3, 2, 1), nn.ReLU())
        yield from (nn.AdaptiveAvgPool2d(1), nn.Flatten())


def small(classes: int) -> nn.Module:
    """Return the network. classes: how many logits it has."""
    return Small(classes)


def brighter(images: Tensor, inside: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A transform: every picture a little darker or brighter, its box as it was."""
    factor = torch.empty(len(images), 1, 1, 1).uniform_(0.8, 1.2, generator=generator).to(images.device)
    moved = (images.float() * factor).clamp(0, 255 if images.dtype == torch.uint8 else 1)
    return moved.to(images.dtype), inside
