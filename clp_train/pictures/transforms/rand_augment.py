"""Two random operations per picture, each applied with probability 1/2; box masks move with their pictures.

This is what the generalised long-tail benchmark (Tang et al. 2022) calls RandAugment (Cubuk et al. 2020): each of two
draws is applied with probability 1/2; its operation is one of fifteen and its level 1 to 9, all equally likely. Ranges
and fills are those of AutoAugment (Cubuk et al. 2019). Rotation is in one direction only, as there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from torch import Tensor

from clp_aug.nets.devices import CPU
from clp_train.pictures.transforms.rand_augment_draws import (
    ANGLE,
    CUT,
    FILL,
    LEVELS,
    Draw,
    Draws,
    bits_of,
    factor_of,
    first_inverted,
    half_of_hole,
    shear_of,
    shift_of,
)
from clp_train.pictures.transforms.rand_augment_tensors import operated

Pair = tuple[Image.Image, Image.Image]
"""A picture, RGB, and its mask, L with 0 and 255."""


def warp(pair: Pair, matrix: tuple[float, ...], resampling: Image.Resampling) -> Pair:
    """Return both through x_in = a x + b y + c, y_in = d x + e y + f; pixels from outside become grey background."""
    picture, mask = pair
    return (
        picture.transform(picture.size, Image.Transform.AFFINE, matrix, resampling, fillcolor=FILL),
        mask.transform(mask.size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST, fillcolor=0),
    )


def shear(pair: Pair, draw: Draw, axis: int) -> Pair:
    """Shear by up to 0.3 along an axis, bicubic; the first row, or column, stays."""
    amount = shear_of(draw)
    return warp(pair, (1, amount, 0, 0, 1, 0) if axis == 0 else (1, 0, 0, amount, 1, 0), Image.Resampling.BICUBIC)


def shift(pair: Pair, draw: Draw, axis: int) -> Pair:
    """Shift by up to 150 / 331 of a side."""
    amount = shift_of(draw, pair[0].size[axis])
    return warp(pair, (1, 0, amount, 0, 1, 0) if axis == 0 else (1, 0, 0, 0, 1, amount), Image.Resampling.NEAREST)


def rotate(pair: Pair, draw: Draw) -> Pair:
    """Rotate counterclockwise by up to 30 degrees."""
    angle = ANGLE * draw.level / LEVELS
    return pair[0].rotate(angle, fillcolor=FILL), pair[1].rotate(angle, fillcolor=0)


def cutout(pair: Pair, draw: Draw) -> Pair:
    """Paint a square of up to 20 of 112 pixels over the picture, cut at its edges; the box does not change."""
    picture = pair[0].copy()
    width, height = picture.size
    half = half_of_hole(draw.level, width)
    x, y = int(draw.place[0] * width), int(draw.place[1] * height)
    ImageDraw.Draw(picture).rectangle((x - half, y - half, x + half - 1, y + half - 1), fill=CUT)  # ends included
    return picture, pair[1]


def enhance(kind: Callable[[Image.Image], ImageEnhance._Enhance]) -> Callable[[Pair, Draw], Pair]:
    """Return the operation that makes a property stronger or weaker by up to 0.9."""
    return lambda pair, draw: (kind(pair[0]).enhance(factor_of(draw)), pair[1])


OPERATIONS: dict[str, Callable[[Pair, Draw], Pair]] = {
    "invert": lambda pair, _: (ImageOps.invert(pair[0]), pair[1]),
    "cutout": cutout,
    "sharpness": enhance(ImageEnhance.Sharpness),
    "autocontrast": lambda pair, _: (ImageOps.autocontrast(pair[0]), pair[1]),
    "posterize": lambda pair, draw: (ImageOps.posterize(pair[0], bits_of(draw.level)), pair[1]),
    "shear-x": lambda pair, draw: shear(pair, draw, 0),
    "translate-x": lambda pair, draw: shift(pair, draw, 0),
    "translate-y": lambda pair, draw: shift(pair, draw, 1),
    "shear-y": lambda pair, draw: shear(pair, draw, 1),
    "rotate": rotate,
    "equalize": lambda pair, _: (ImageOps.equalize(pair[0]), pair[1]),
    "contrast": enhance(ImageEnhance.Contrast),
    "color": enhance(ImageEnhance.Color),
    "solarize": lambda pair, draw: (ImageOps.solarize(pair[0], first_inverted(draw.level)), pair[1]),
    "brightness": enhance(ImageEnhance.Brightness),
}


def rand_augment(images: Tensor, inside: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return pictures and masks after their operations. images: uint8 (n, 3, H, W); inside: bool (n, H, W).

    On the CPU PIL computes them, picture by picture; on a device `rand_augment_tensors` does, with the same draws.
    """
    n, names = len(images), tuple(OPERATIONS)
    applied, operations = rng.random((n, 2)) < 0.5, rng.integers(len(names), size=(n, 2))
    levels, signs = rng.integers(1, LEVELS + 1, (n, 2)), rng.choice([-1, 1], (n, 2))
    draws = Draws(applied, operations, levels, signs, rng.random((n, 2, 2)))
    return (operated_by_pil if images.device.type == CPU else operated)(images, inside, names, draws)


def operated_by_pil(images: Tensor, inside: Tensor, names: Sequence[str], draws: Draws) -> tuple[Tensor, Tensor]:
    """Return pictures and masks, on the CPU, after their operations. names: of operations, as draws number them."""
    images, inside = images.clone(), inside.clone()
    pixels, masks = images.numpy(), inside.numpy()  # the same memory: numpy copies one picture faster than torch
    for i in draws.applied.any(1).nonzero()[0]:
        pair = Image.fromarray(np.ascontiguousarray(pixels[i].transpose(1, 2, 0))), mask_of(masks[i])
        for k in draws.applied[i].nonzero()[0]:
            draw = Draw(int(draws.levels[i, k]), int(draws.signs[i, k]), tuple(draws.places[i, k]))
            pair = OPERATIONS[names[draws.operations[i, k]]](pair, draw)
        pixels[i], masks[i] = np.asarray(pair[0]).transpose(2, 0, 1), np.asarray(pair[1]) > 0
    return images, inside


def mask_of(inside: np.ndarray) -> Image.Image:
    """Return bool (H, W) as a grey picture, 255 inside."""
    return Image.fromarray(inside.astype(np.uint8) * 255)
