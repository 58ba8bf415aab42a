"""On the CPU pictures are what they were before there were devices: recorded digests, and the formulas of then.

Recorded is what whole numbers alone decide, so that digests hold on every processor. RandAugment hangs on Pillow, and
is compared with it in test_rand_augment_tensors.py.
"""

import hashlib

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from clp_aug.contract.boxes import usable_strip
from clp_train.pictures import batching, infills
from clp_train.pictures.transforms import load_transform
from clp_train.pictures.transforms.joint import HALF, SCALE, WIDE, centres, crops
from clp_train.pictures.types import BoxedPictures, masks
from tests.clp_train.builders import generator

SIZES = ((32, 32, 40), (12, 17, 9), (8, 8, 5), (64, 48, 7), (32, 32, 1))


def case(k):
    """Return random pictures of a size, boxes, labels."""
    (height, width, n), g = SIZES[k], generator(k)
    x0, y0 = torch.randint(width - 2, (n,), generator=g), torch.randint(height - 2, (n,), generator=g)
    x1 = x0 + 1 + (torch.rand(n, generator=g) * (width - x0)).long()
    y1 = y0 + 1 + (torch.rand(n, generator=g) * (height - y0)).long()
    images = torch.randint(256, (n, 3, height, width), generator=g, dtype=torch.uint8)
    return images, torch.stack([x0, y0, x1, y1], 1), torch.randint(3, (n,), generator=g)


def moved(name):
    def made(images, box, label, g):
        found, inside = load_transform(name)(images, masks(box, *images.shape[2:]), g)
        as_float, same = load_transform(name)(images.float(), masks(box, *images.shape[2:]), g)
        return found, inside, as_float, same

    return made


def cropped_mask(name):
    return lambda images, box, label, g: load_transform(name)(images, masks(box, *images.shape[2:]), g)[1:]


def batch(images, box, label, g):
    ids = torch.arange(len(images))
    stream = BoxedPictures(images, label, label % 2, ids + 7, box, (ids % 3).to(torch.uint8))
    rows = np.concatenate(
        [rows for name in ("natural", "class") for rows in batching.epoch_rows(stream, 2, 4, 3, name)]
    )
    made = batching.train_batch(stream, rows, 3, 5, "pad-crop-flip")
    return (255 * made.images).round(), made.inside, made.label, made.group, made.kind, made.sample_id, made.row


RECORDED = {
    "masks": (lambda images, box, label, g: [masks(box, *images.shape[2:])], "3b805e4bfcb9a97a"),
    "strips": (lambda images, box, label, g: infills.background_strips(box, *images.shape[2:]), "4170724a76254b5b"),
    "partners": (
        lambda images, box, label, g: infills.choose_partners(label, torch.arange(len(label)) % 4 != 0, g),
        "d59917d24a63087f",
    ),
    "other classes": (lambda images, box, label, g: [infills.other_class(label, 5, g)], "4f40a4a3b1168cc3"),
    "mix-rand": (infills.mix_rand, "211fe020cd2deffb"),
    "mix-rand, float": (
        lambda images, box, label, g: infills.mix_rand(images.float(), box, label, g),
        "7a9c41ec9b7f1f57",
    ),
    "pad-crop-flip": (moved("pad-crop-flip"), "b03858335fa3292a"),
    "none": (moved("none"), "7a3f243dda546131"),
    "resize-crop-flip, masks": (cropped_mask("resize-crop-flip"), "3f035ee3d3b9de34"),
    "wide-crop-flip, masks": (cropped_mask("wide-crop-flip"), "7d679e928cd4fc2f"),
    "half-crop-flip, masks": (cropped_mask("half-crop-flip"), "3c1b7911f4401d61"),
    "batch": (batch, "745244d477fd8650"),
}


def digest_of(make):
    """Return a digest over what `make` gives for every size, at three seeds, and where it leaves the generator."""
    digest = hashlib.sha256()
    for k in range(len(SIZES)):
        for seed in range(3):
            g = generator(100 + seed)
            for values in (*make(*case(k), g), torch.randint(1 << 30, (1,), generator=g)):
                digest.update(repr((tuple(values.shape), values.dtype, values.stride())).encode())
                digest.update(values.numpy().tobytes())
    return digest.hexdigest()[:16]


@pytest.mark.parametrize("what", RECORDED)
def test_the_bytes_are_those_that_were_recorded(what):
    make, recorded = RECORDED[what]
    assert digest_of(make) == recorded


@pytest.mark.parametrize(("name", "scale"), [("resize", SCALE), ("wide", WIDE), ("half", HALF)])
@pytest.mark.parametrize("kind", [torch.uint8, torch.float32, torch.float64])
@pytest.mark.parametrize("k", range(len(SIZES)))
def test_crops_are_those_of_one_grid_in_float64(k, kind, name, scale):
    images, box, _ = case(k)
    images = images if kind == torch.uint8 else (images / 255).to(kind)
    n, _, height, width = images.shape
    found, _ = load_transform(f"{name}-crop-flip")(images, masks(box, height, width), generator(k))
    g = generator(k)
    x0, y0, w, h = crops(n, g, scale).T[..., None]
    flip = torch.rand((n, 1), generator=g) < 0.5
    xs, ys = x0 + w * centres(width), y0 + h * centres(height)
    xs = torch.where(flip, xs.flip(1), xs)
    grid = torch.stack(torch.broadcast_tensors(2 * xs[:, None, :] - 1, 2 * ys[:, :, None] - 1), -1)
    pixels = images if images.is_floating_point() else images.float()
    expected = F.grid_sample(pixels, grid.to(pixels.dtype), "bilinear", "border", align_corners=False)
    assert torch.equal(found, expected if images.is_floating_point() else expected.round().to(torch.uint8))


def strip_of_one(box, height, width):
    """The largest strip beside one box, by the contract, and whether it may be tiled with."""
    strip = usable_strip(tuple(box), height, width)
    return strip or (0, 0, width, height), strip is not None


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 6), (5, 2), (4, 4), (6, 7), (41, 60)])
def test_strips_of_all_boxes_are_those_of_the_contract(height, width):
    xs, ys = range(0, width + 1, 1 + width // 20), range(0, height + 1, 1 + height // 20)
    boxes = [(x0, y0, x1, y1) for x0 in xs for x1 in xs if x1 > x0 for y0 in ys for y1 in ys if y1 > y0]
    strips, usable = infills.background_strips(torch.tensor(boxes), height, width)
    expected = [strip_of_one(box, height, width) for box in boxes]
    assert strips.tolist() == [list(strip) for strip, _ in expected]
    assert usable.tolist() == [is_usable for _, is_usable in expected]
    assert strips.dtype == torch.int64


def test_no_boxes_have_no_strips():
    strips, usable = infills.background_strips(torch.zeros(0, 4, dtype=torch.int64), 5, 6)
    assert (strips.shape, usable.shape) == ((0, 4), (0,))


@pytest.mark.parametrize("seed", range(40))
def test_partners_have_the_highest_lot_of_those_that_fit(seed):
    g = generator(seed)
    n = int(torch.randint(1, 25, (1,), generator=g))
    label, usable = torch.randint(3, (n,), generator=g), torch.rand(n, generator=g) < 0.5
    partner, ok = infills.choose_partners(label, usable, generator(seed))
    lots = torch.rand((n, n), generator=generator(seed), dtype=torch.float64)
    for i in range(n):
        fitting = [j for j in range(n) if label[j] != label[i] and usable[j]]
        assert bool(ok[i]) == bool(fitting)
        assert int(partner[i]) == (max(fitting, key=lambda j, i=i: lots[i, j]) if fitting else i)
