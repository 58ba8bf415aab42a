"""Every registered transform moves a picture and its mask together."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clp_aug.contract.errors import UsageError
from clp_train.pictures.transforms import TRANSFORMS, load_transform
from clp_train.pictures.transforms.joint import (
    HALF,
    SCALE,
    STRETCH,
    WIDE,
    crops,
    half_crop_flip,
    resize_crop_flip,
    wide_crop_flip,
)
from clp_train.pictures.types import masks
from tests.clp_train.builders import generator

NAMES = sorted(TRANSFORMS)


def boxed(seed, n=6):
    """Random noise, boxes and masks of a random size."""
    g = generator(seed)
    height, width = torch.randint(8, 40, (2,), generator=g).tolist()
    x0, y0 = torch.randint(width - 2, (n,), generator=g), torch.randint(height - 2, (n,), generator=g)
    x1 = x0 + 1 + (torch.rand(n, generator=g) * (width - x0)).long()
    y1 = y0 + 1 + (torch.rand(n, generator=g) * (height - y0)).long()
    images = torch.randint(256, (n, 3, height, width), generator=g, dtype=torch.uint8)
    return images, masks(torch.stack([x0, y0, x1, y1], 1), height, width)


@pytest.mark.parametrize("name", NAMES)
@given(seed=st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_the_mask_goes_where_the_picture_goes(name, seed):
    """A picture that is white in its box and black elsewhere: halfway between is where the moved box ends."""
    _, inside = boxed(seed)
    white = inside[:, None].expand(-1, 3, -1, -1).to(torch.uint8) * 255
    images, moved = load_transform(name)(white, inside, generator(seed + 1))
    seen = images[:, 0] > 127
    edge = torch.nn.functional.max_pool2d(moved.float()[:, None], 3, 1, 1)[:, 0] > 0
    edge &= torch.nn.functional.max_pool2d((~moved).float()[:, None], 3, 1, 1)[:, 0] > 0
    for side in (edge[:, 0], edge[:, -1], edge[:, :, 0], edge[:, :, -1]):
        side[:] = True  # the box may end less than a pixel beyond the frame
    assert not ((seen != moved) & ~edge).any()
    if name == "wide-crop-flip":  # enlarged four times at most: an edge is that much softer
        edge = torch.nn.functional.max_pool2d(edge.float()[:, None], 5, 1, 2)[:, 0] > 0
    assert (images[moved[:, None].expand_as(images) & ~edge[:, None]] == 255).all()
    assert (images[~moved[:, None].expand_as(images) & ~edge[:, None]] == 0).all()
    assert images.dtype == torch.uint8
    assert moved.dtype == torch.bool
    assert images.shape == white.shape


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(5))
def test_the_generator_decides_everything(name, seed):
    images, inside = boxed(seed)
    before, torch_state = (images.clone(), inside.clone()), torch.get_rng_state()
    first = load_transform(name)(images, inside, generator(7))
    again = load_transform(name)(images, inside, generator(7))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert torch.equal(images, before[0])
    assert torch.equal(inside, before[1])
    assert torch.equal(torch.get_rng_state(), torch_state)
    if name != "none":
        assert not torch.equal(first[0], load_transform(name)(images, inside, generator(8))[0])


@pytest.mark.parametrize("name", NAMES)
def test_flat_pictures_stay_flat_and_floats_stay_floats(name):
    images = torch.full((5, 3, 17, 11), 0.3)
    moved, _ = load_transform(name)(images, torch.zeros(5, 17, 11, dtype=torch.bool), generator(0))
    torch.testing.assert_close(moved, images)
    white, _ = load_transform(name)(torch.full((5, 3, 17, 11), 255, dtype=torch.uint8), images[:, 0] > 1, generator(0))
    assert (white == 255).all()


def test_pictures_of_a_batch_move_on_their_own():
    ramp = torch.arange(32, dtype=torch.uint8).expand(64, 3, 32, 32) * 8
    for name in set(NAMES) - {"none"}:
        moved, _ = load_transform(name)(ramp, torch.zeros(64, 32, 32, dtype=torch.bool), generator(0))
        assert len({picture.numpy().tobytes() for picture in moved}) > 10
        rising = (moved[:, 0, 16, 31].int() > moved[:, 0, 16, 0].int()).float().mean()
        assert 0.3 < rising < 0.7  # about every other one is flipped


@pytest.mark.parametrize("scale", [SCALE, HALF, WIDE])
def test_crops_keep_their_ranges_and_reach_them(scale):
    x0, y0, width, height = crops(20_000, generator(0), scale).T
    area, stretch = width * height, width / height
    assert min(x0.min(), y0.min()) >= 0
    assert max((x0 + width).max(), (y0 + height).max()) <= 1 + 1e-12
    assert area.min() >= scale[0] - 1e-12
    assert stretch.min() >= STRETCH[0] - 1e-12
    assert stretch.max() <= STRETCH[1] + 1e-12
    assert area.min() < scale[0] + 0.001
    assert area.max() > scale[1] - 0.001
    assert stretch.min() < STRETCH[0] + 0.01
    assert stretch.max() > STRETCH[1] - 0.01
    assert area.mean().item() == pytest.approx(sum(scale) / 2, abs=0.01)  # uniform
    assert stretch.log().mean().item() == pytest.approx(0, abs=0.005)  # no more wide than tall ones


def test_boxes_stay_boxes():
    """A mask that is the outer product of its rows and columns, each one run, is a rectangle."""
    for seed in range(50):
        images, inside = boxed(seed)
        _, moved = resize_crop_flip(images, inside, generator(seed))
        rows, columns = moved.any(2), moved.any(1)
        assert torch.equal(moved, rows[:, :, None] & columns[:, None, :])
        for line in (rows, columns):
            assert (line.int().diff(dim=1).abs().sum(1) <= 2).all()
            assert ((line.int().diff(dim=1) == 1).sum(1) <= 1).all()


@pytest.mark.parametrize(
    ("transform", "scale"), [(resize_crop_flip, SCALE), (half_crop_flip, HALF), (wide_crop_flip, WIDE)]
)
def test_resize_crop_against_one_picture_at_a_time(transform, scale):
    """Oracle: cut, stretch and flip by a loop over pixels in plain arithmetic."""
    images, inside = boxed(3, n=4)
    n, _, height, width = images.shape
    moved, mask = transform(images, inside, generator(5))
    g = generator(5)
    where, flips = crops(n, g, scale).tolist(), (torch.rand((n, 1), generator=g) < 0.5)[:, 0].tolist()
    assert len(set(flips)) == 2
    for i in range(n):
        x0, y0, w, h = where[i]
        for y in range(height):
            for x in range(width):
                u = (x0 + w * ((width - 1 - x if flips[i] else x) + 0.5) / width) * width
                v = (y0 + h * (y + 0.5) / height) * height
                assert mask[i, y, x] == inside[i, min(int(v), height - 1), min(int(u), width - 1)]
                total = torch.zeros(3, dtype=torch.float64)
                left, top = int(u - 0.5) if u >= 0.5 else -1, int(v - 0.5) if v >= 0.5 else -1
                for dy in (0, 1):
                    for dx in (0, 1):
                        weight = (1 - abs(u - 0.5 - left - dx)) * (1 - abs(v - 0.5 - top - dy))
                        at = min(max(top + dy, 0), height - 1), min(max(left + dx, 0), width - 1)
                        total += weight * images[i, :, at[0], at[1]]
                assert (moved[i, :, y, x] - total).abs().max() <= 0.5 + 1e-3


def test_none_gives_back_what_it_got():
    images, inside = boxed(0)
    assert load_transform("none")(images, inside, generator(0)) == (images, inside)


def test_an_unknown_transform_lists_the_known():
    with pytest.raises(UsageError, match=r"^unknown transform 'spin': choose one of half-crop-flip, none, pad-"):
        load_transform("spin")
