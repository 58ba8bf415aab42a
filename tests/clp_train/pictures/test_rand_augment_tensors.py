"""The operations on tensors against PIL, bit for bit where both define the same, and against kornia."""

import math

import kornia
import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from clp_aug.contract.seeds import rng_for
from clp_train.pictures.transforms import rand_augment as by_pil
from clp_train.pictures.transforms import rand_augment_tensors as on_tensors
from clp_train.pictures.transforms.rand_augment_draws import ENHANCE, LEVELS, Draw, Draws

NAMES = tuple(by_pil.OPERATIONS)
SIZES = ((32, 32), (96, 96), (224, 224), (11, 13), (33, 64), (2, 5))
OFTEN = {"autocontrast": 0.06, "shear-x": 1e-3, "shear-y": 3e-3}
"""Share of the pixels that may be a level off, by operation; others are PIL's to the last bit.

autocontrast is off where the stretched level is a whole number that PIL's table, in float64, falls short of.
"""


def pictures_of(height, width):
    """Return noise, noise of few levels, ramps, soft noise, one colour, two colours: uint8 (6, 3, H, W)."""
    rng = rng_for(height, width, "test tensors")
    noise = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    low, high = sorted(rng.integers(0, 256, 2).tolist())
    few = rng.integers(low, high + 1, (height, width, 3)).astype(np.uint8)
    y, x = np.mgrid[:height, :width]
    ramps = np.stack([x * 255 // max(1, width - 1), y * 255 // max(1, height - 1), (x + y) % 256], 2).astype(np.uint8)
    soft = np.array(Image.fromarray(noise).filter(ImageFilter.GaussianBlur(2)))
    one = np.full_like(noise, rng.integers(0, 256, 3))
    two = one.copy()
    two[: height // 2] = rng.integers(0, 256, 3)
    return torch.from_numpy(np.stack([noise, few, ramps, soft, one, two])).permute(0, 3, 1, 2)


def box_of(n, height, width):
    inside = torch.zeros(n, height, width, dtype=torch.bool)
    inside[:, height // 4 : height * 3 // 4, width // 4 : width * 3 // 4] = True
    return inside


def one_by_one(name, images, inside, draw):
    """Return what PIL makes of pictures and masks."""
    found = []
    for i, (image, mask) in enumerate(zip(images, inside, strict=True)):
        pair = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()), by_pil.mask_of(mask.numpy())
        one = Draw(int(draw.level[i]), int(draw.sign[i]), tuple(draw.place[i]))
        found.append([np.array(part) for part in by_pil.OPERATIONS[name](pair, one)])
    pictures, masks = (torch.from_numpy(np.stack(parts)) for parts in zip(*found, strict=True))
    return pictures.permute(0, 3, 1, 2), masks > 0


def every_draw(n, seed=0):
    """Yield each level and sign, for n pictures each, at places of their own."""
    rng = rng_for(seed, 0, "test places")
    for level in range(1, LEVELS + 1):
        for sign in (-1, 1):
            yield Draw(np.full(n, level), np.full(n, sign), rng.random((n, 2)))


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_each_level_and_sign_is_that_of_pil(name, size):
    images, inside, off, pixels = pictures_of(*size), box_of(6, *size), 0, 0
    for draw in every_draw(len(images)):
        levels, masks = on_tensors.OPERATIONS[name]((images.float(), inside), draw)
        expected, moved = one_by_one(name, images, inside, draw)
        difference = (levels - expected.float()).abs()
        assert torch.equal(masks, moved)
        assert difference.max() <= (1 if name in OFTEN else 0)
        assert torch.equal(levels, levels.round())
        off, pixels = off + int((difference > 0).sum()), pixels + difference.numel()
    assert off <= OFTEN.get(name, 0) * pixels


def test_both_forms_have_the_same_operations():
    assert list(on_tensors.OPERATIONS) == list(by_pil.OPERATIONS)


def kornia_of(name, x, draw):
    """Return what kornia makes of pictures in [0, 1], in levels, not rounded."""
    share = torch.from_numpy(draw.level / LEVELS)
    factor = (1 + torch.from_numpy(draw.sign) * ENHANCE * share).float()
    bits = torch.tensor([round(8 - 4 * s) for s in share.tolist()])
    first = torch.tensor([math.ceil(256 * (1 - s)) for s in share.tolist()]) / 255
    e = kornia.enhance
    return (
        255
        * {
            "invert": lambda: e.invert(x),
            "autocontrast": lambda: e.normalize_min_max(x, eps=0.0),
            "posterize": lambda: e.posterize(x, bits),
            "equalize": lambda: e.equalize(x),
            "solarize": lambda: e.solarize(x, first),
            "brightness": lambda: e.adjust_brightness_accumulative(x, factor),
            "contrast": lambda: e.adjust_contrast_with_mean_subtraction(x, factor),
            "color": lambda: e.adjust_saturation_with_gray_subtraction(x, factor),
            "sharpness": lambda: e.sharpness(x, factor),
        }[name]()
    )


@pytest.mark.parametrize(
    ("name", "most"),
    [("invert", 0), ("posterize", 0), ("solarize", 0), ("equalize", 0)]
    + [(name, 2) for name in ("autocontrast", "brightness", "contrast", "color", "sharpness")],
)
def test_colours_against_kornia(name, most):
    """Exact where nothing is rounded; else kornia keeps the fractions that PIL cuts, within and at the end."""
    images = pictures_of(32, 32)[:4]  # of more than one level each
    for draw in every_draw(len(images)):
        levels, _ = on_tensors.OPERATIONS[name]((images.float(), box_of(4, 32, 32)), draw)
        difference = (kornia_of(name, images.float() / 255, draw) - levels).abs()
        assert difference.max() <= most + 1e-3
        assert difference.mean() <= most / 2 + 1e-3


def drawn(n, seed):
    """Return what `rand_augment` draws."""
    rng = rng_for(seed, 0, "test draws")
    return Draws(
        rng.random((n, 2)) < 0.5, rng.integers(len(NAMES), size=(n, 2)), rng.integers(1, LEVELS + 1, (n, 2)),
        rng.choice([-1, 1], (n, 2)), rng.random((n, 2, 2)),
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_a_batch_is_that_of_one_picture_at_a_time(seed):
    """Both draws of each picture, in their order; the exact operations alone, so that no level is passed on."""
    images, inside = pictures_of(20, 24).repeat(10, 1, 1, 1), box_of(60, 20, 24)
    exact = tuple(name for name in NAMES if name not in OFTEN)
    draws = drawn(60, seed)
    draws = draws._replace(operations=draws.operations % len(exact))
    before = images.clone(), inside.clone()
    found, masks = on_tensors.operated(images, inside, exact, draws)
    expected, moved = by_pil.operated_by_pil(images, inside, exact, draws)
    assert found.dtype == torch.uint8
    assert torch.equal(found, expected)
    assert torch.equal(masks, moved)
    assert torch.equal(images, before[0])
    assert torch.equal(inside, before[1])
    assert not torch.equal(found, images)


def test_the_device_decides_and_the_draws_are_the_same(monkeypatch):
    seen = {}

    def noting(name):
        return lambda images, inside, names, draws: seen.setdefault(name, (names, draws))

    monkeypatch.setattr(by_pil, "operated_by_pil", noting("pil"))
    monkeypatch.setattr(by_pil, "operated", noting("tensors"))
    images, inside = pictures_of(4, 5), box_of(6, 4, 5)
    by_pil.rand_augment(images, inside, rng_for(0, 0, "test draws"))
    by_pil.rand_augment(images.to("meta"), inside.to("meta"), rng_for(0, 0, "test draws"))
    assert seen["pil"][0] == seen["tensors"][0] == NAMES
    for a, b, c in zip(seen["pil"][1], seen["tensors"][1], drawn(6, 0), strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)
