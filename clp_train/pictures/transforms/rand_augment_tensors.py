"""The fifteen operations of `rand_augment` on tensors: many pictures at once, on their device, without waiting for it.

Pictures are levels here: whole numbers from 0 to 255 as float32, exact on every device. All parameters of an operation
are computed on the CPU, from the draws. The result equals PIL's, bit by bit on the CPU, with two exceptions. shear:
PIL's cubic kernel (slope -1 at 1; torch's bicubic has -0.75) is summed in float32, in PIL in float64, and both cut the
fraction off, so some pixels differ by one level. autocontrast: PIL's float64 table is slightly below some whole
numbers; here the quotient is exact, so some pixels differ by one level.
kornia's colours, in units of [0, 1], keep the fractions that PIL cuts, during and at the end, up to two levels in
total, and its moves use torch's `grid_sample`; tests use it as a reference. Source: ours, after PIL's definitions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from clp_train.pictures.moving import onto
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
from clp_train.pictures.types import masks

LUMA = (19595, 38470, 7471)  # of 65536: PIL's weights of red, green and blue
HALF = 32768
BITS = 16  # after the point, of PIL's fixed point numbers for the nearest pixel

Some = tuple[Tensor, Tensor]
"""Pictures, levels (m, 3, H, W), and their masks, bool (m, H, W)."""
Operation = Callable[[Some, Draw], Some]


def operated(images: Tensor, inside: Tensor, names: Sequence[str], draws: Draws) -> Some:
    """Return pictures, uint8 (n, 3, H, W), and masks, bool (n, H, W), after their operations.

    names: of operations, in the order of the draws' numbers.
    """
    levels, inside = images.float(), inside.clone()
    for turn in range(draws.applied.shape[1]):
        for number in np.unique(draws.operations[draws.applied[:, turn], turn]):
            rows = np.flatnonzero(draws.applied[:, turn] & (draws.operations[:, turn] == number))
            at = onto(torch.from_numpy(rows), images.device)
            levels[at], inside[at] = OPERATIONS[names[number]]((levels[at], inside[at]), draws.of(rows, turn))
    return levels.to(images.dtype), inside


def sent(values: np.ndarray, like: Tensor) -> Tensor:
    """Return numbers from the CPU on the device of `like`: whole numbers as int64, others as float32."""
    kind = torch.int64 if values.dtype.kind == "i" else torch.float32
    return onto(torch.from_numpy(values).to(kind), like.device)


def blended(low: Tensor | float, levels: Tensor, draw: Draw) -> Tensor:
    """Return low + factor (levels - low), cut to whole numbers in [0, 255]."""
    factor = sent(factor_of(draw), levels)[:, None, None, None]
    return (low + factor * (levels - low)).clamp(0, 255).floor()


def luma(levels: Tensor) -> Tensor:
    """Return the brightness of pictures, levels (m, 1, H, W). Every sum is below 2^24, so it is exact."""
    red, green, blue = levels.split(1, 1)
    return ((LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue + HALF) / (2 * HALF)).floor()


def mean_luma(levels: Tensor) -> Tensor:
    """Return the mean brightness of each picture, rounded, (m, 1, 1, 1)."""
    count = levels.shape[2] * levels.shape[3]
    total = luma(levels).long().sum((1, 2, 3), keepdim=True)
    return torch.div(2 * total + count, 2 * count, rounding_mode="floor").float()


def smooth(levels: Tensor) -> Tensor:
    """Return the mean of 3 x 3 pixels in which the centre has weight 5; the border does not change."""
    if min(levels.shape[2:]) < 3:
        return levels
    rows = levels[:, :, :-2] + levels[:, :, 1:-1] + levels[:, :, 2:]
    total = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4 * levels[:, :, 1:-1, 1:-1]
    out = levels.clone()
    out[:, :, 1:-1, 1:-1] = (total / 13 + 0.5).floor()  # never half a level
    return out


def autocontrast(levels: Tensor) -> Tensor:
    """Stretch each channel to [0, 255]; a channel of a single level does not change."""
    pixels = levels.long()
    low, high = pixels.amin((2, 3), keepdim=True), pixels.amax((2, 3), keepdim=True)
    stretched = torch.div(255 * (pixels - low), (high - low).clamp(min=1), rounding_mode="floor")
    return torch.where(high > low, stretched, pixels).float()


def equalize(levels: Tensor) -> Tensor:
    """Make each channel's levels equally frequent, in steps of (pixels - those of the highest level) / 255."""
    pixels = levels.long().flatten(2)  # (m, 3, HW)
    counts = torch.zeros(*pixels.shape[:2], 256, dtype=torch.long, device=levels.device)
    counts.scatter_add_(2, pixels, torch.ones_like(pixels))
    highest = counts.gather(2, pixels.amax(2, keepdim=True))
    step = torch.div(pixels.shape[2] - highest, 255, rounding_mode="floor")
    below = counts.cumsum(2) - counts
    table = torch.div(step // 2 + below, step.clamp(min=1), rounding_mode="floor").clamp(max=255)
    return torch.where(step > 0, table.gather(2, pixels), pixels).view_as(levels).float()


def posterize(levels: Tensor, draw: Draw) -> Tensor:
    """Keep the upper bits of each level."""
    step = np.array([2 ** (8 - bits_of(level)) for level in draw.level.tolist()])
    return levels - levels % sent(step, levels)[:, None, None, None]


def solarize(levels: Tensor, draw: Draw) -> Tensor:
    """Invert the levels at and above a threshold."""
    first = np.array([first_inverted(level) for level in draw.level.tolist()])
    return torch.where(levels < sent(first, levels)[:, None, None, None], levels, 255 - levels)


def cutout(levels: Tensor, draw: Draw) -> Tensor:
    """Paint a square over each picture."""
    height, width = levels.shape[2:]
    half = np.array([half_of_hole(level, width) for level in draw.level.tolist()])
    x, y = (draw.place * (width, height)).astype(np.int64).T
    box = sent(np.stack([x - half, y - half, x + half, y + half], 1), levels)
    return torch.where(masks(box, height, width)[:, None], colour(CUT, levels), levels)


def colour(channels: tuple[int, int, int], like: Tensor) -> Tensor:
    """Return one colour, float32 (3, 1, 1), on the device of `like`."""
    return sent(np.array(channels, np.float32)[:, None, None], like)


def moved(some: Some, rows: Tensor, columns: Tensor) -> Some:
    """Return both, with each pixel taken from a row and a column: int64, of shapes that broadcast to (m, H, W).

    Pixels from outside become grey background.
    """
    levels, inside = some
    there = within(rows, columns, inside)
    pixels = torch.where(there[:, None], taken(levels, rows, columns), colour(FILL, levels))
    return pixels, taken(inside[:, None], rows, columns)[:, 0] & there


def within(rows: Tensor, columns: Tensor, inside: Tensor) -> Tensor:
    """Return which positions, as in `moved`, are in the picture, bool (m, H, W)."""
    m, height, width = inside.shape
    return ((rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)).expand(m, height, width)


def taken(values: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return the pixels at positions as in `moved`; outside of the picture the nearest one. values: (m, K, H, W)."""
    m, channels, height, width = values.shape
    picture = torch.arange(m, device=values.device)[:, None, None, None]
    channel = torch.arange(channels, device=values.device)[:, None, None]
    rows, columns = rows.clamp(0, height - 1)[..., None, :, :], columns.clamp(0, width - 1)[..., None, :, :]
    return values[picture, channel, rows, columns]


def shift(some: Some, draw: Draw, axis: int) -> Some:
    """Shift pictures along an axis, to whole pixels."""
    height, width = some[1].shape[1:]
    side, other = (width, height) if axis == 0 else (height, width)
    source = np.floor(shift_of(draw, side)[:, None] + 0.5 + np.arange(side)).astype(np.int64)
    places, own = sent(source, some[0]), torch.arange(other, device=some[0].device)
    return moved(some, own[:, None], places[:, None]) if axis == 0 else moved(some, places[:, :, None], own[None])


def rotate(some: Some, draw: Draw) -> Some:
    """Rotate pictures counterclockwise, to the nearest pixel."""
    height, width = some[1].shape[1:]
    turns = np.array([turn(ANGLE * level / LEVELS, height, width) for level in draw.level.tolist()])
    a, b, c, d, e, f = sent(turns, some[0]).T[..., None, None]  # each (m, 1, 1)
    xs, ys = (torch.arange(side, device=some[0].device) for side in (width, height))
    ys = ys[:, None]
    return moved(some, (d * xs + e * ys + f) >> BITS, (a * xs + b * ys + c) >> BITS)


def turn(angle: float, height: int, width: int) -> list[int]:
    """Return a to f of a rotation by degrees: x_in = a x + b y + c, y_in = d x + e y + f, in fixed point numbers.

    x, y: whole pixel coordinates; the centre of the picture is fixed.
    """
    cos, sin = round(math.cos(math.radians(angle)), 15), round(math.sin(math.radians(angle)), 15)
    x, y = width / 2, height / 2
    c, f = -cos * x + sin * y + x, -sin * x - cos * y + y
    return [fixed(value) for value in (cos, -sin, c + 0.5 * cos - 0.5 * sin, sin, cos, f + 0.5 * sin + 0.5 * cos)]


def fixed(value: float) -> int:
    """Return a fixed point number."""
    return math.floor(value * (1 << BITS) + 0.5)


def shear(some: Some, draw: Draw) -> Some:
    """Shear pictures along x: a row is shifted by fractions of a pixel, cubic; a mask's row by whole pixels."""
    levels, inside = some
    height, width = inside.shape[1:]
    amount, y = shear_of(draw), np.arange(height)
    shifts = amount[:, None] * (y + 0.5)  # (m, H)
    ends = np.ceil(np.stack([-shifts - 0.5, width - 0.5 - shifts]))  # the columns that come from inside
    first, end = sent(ends, levels)[..., None]  # each (m, H, 1)
    taps, share = sent(np.floor(shifts).astype(np.int64), levels), sent(shifts - np.floor(shifts), levels)
    xs, ys = torch.arange(width, device=levels.device), torch.arange(height, device=levels.device)[:, None]
    near = [taken(levels, ys, xs + taps[..., None] + k) for k in (-1, 0, 1, 2)]
    pixels = cubic(near, share[:, None, :, None]).clamp(0, 255).floor()
    starts = np.array([[fixed(0.5 + 0.5 * a), fixed(a)] for a in amount.tolist()])
    columns = xs + sent((starts[:, :1] + starts[:, 1:] * y) >> BITS, levels)[..., None]
    there = (xs >= first) & (xs < end)
    mask = taken(inside[:, None], ys, columns)[:, 0] & within(ys, columns, inside)
    return torch.where(there[:, None], pixels, colour(FILL, levels)), mask


def cubic(near: Sequence[Tensor], share: Tensor) -> Tensor:
    """Return the value at a share of the way from the second to the third of four pixels.

    Cubic convolution with slope -1 at 1, in PIL's order of operations.
    """
    a, b, c, d = near
    return b + share * (c - a + share * (2 * (a - b) + c - d + share * (b - a - c + d)))


def across(some: Some, draw: Draw) -> Some:
    """Shear pictures along y."""
    levels, inside = shear((some[0].mT, some[1].mT), draw)
    return levels.mT, inside.mT


def colours(operation: Callable[[Tensor, Draw], Tensor]) -> Operation:
    """Return an operation that does not change masks."""
    return lambda some, draw: (operation(some[0], draw), some[1])


OPERATIONS: dict[str, Operation] = {
    "invert": colours(lambda levels, _: 255 - levels),
    "cutout": colours(cutout),
    "sharpness": colours(lambda levels, draw: blended(smooth(levels), levels, draw)),
    "autocontrast": colours(lambda levels, _: autocontrast(levels)),
    "posterize": colours(posterize),
    "shear-x": shear,
    "translate-x": lambda some, draw: shift(some, draw, 0),
    "translate-y": lambda some, draw: shift(some, draw, 1),
    "shear-y": across,
    "rotate": rotate,
    "equalize": colours(lambda levels, _: equalize(levels)),
    "contrast": colours(lambda levels, draw: blended(mean_luma(levels), levels, draw)),
    "color": colours(lambda levels, draw: blended(luma(levels), levels, draw)),
    "solarize": colours(solarize),
    "brightness": colours(lambda levels, draw: blended(0.0, levels, draw)),
}
"""Name -> a function (pictures and masks, draw of each) -> pictures and masks, with PIL's results."""
