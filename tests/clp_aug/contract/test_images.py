"""READ one picture: geometry against a slow oracle, orientation, colour modes, masks."""

import io
import itertools

import numpy as np
import pytest
from PIL import Image

from clp_aug.contract.errors import InputError
from clp_aug.contract.images import MAX_PIXELS, Geometry, read_alpha, read_rgb, read_size, resize_alpha
from clp_aug.contract.schema import FITS

TURNED = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0%c\0\0\0\0\0\0"


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_a_picture_of_the_right_size_is_not_touched():
    pixels = noise(24, 24)
    assert (read_rgb(encoded(Image.fromarray(pixels)), "x", 24) == pixels).all()
    assert (read_rgb(encoded(Image.fromarray(pixels)), "x") == pixels).all()


@pytest.mark.parametrize(("height", "width"), [(20, 31), (31, 20), (1, 9), (9, 1), (1, 1)])
@pytest.mark.parametrize("size", [8, 13, 40])
@pytest.mark.parametrize("fit", FITS)
def test_any_shape_becomes_a_square(height, width, size, fit):
    assert read_rgb(encoded(Image.fromarray(noise(height, width))), "x", size, fit).shape == (size, size, 3)


def test_crop_takes_the_centred_square():
    pixels = noise(10, 16)
    assert (read_rgb(encoded(Image.fromarray(pixels)), "x", 10) == pixels[:, 3:13]).all()


@pytest.mark.parametrize("fit", FITS)
def test_boxes_are_mapped_to_the_pixels_that_hold_them(fit):
    """Oracle: the read pixels that a source box overlaps, found one by one."""
    rng = np.random.default_rng(0)
    for _ in range(150):
        width, height, size = rng.integers(1, 30, 3)
        x0, y0 = rng.integers(width), rng.integers(height)
        box = (x0, y0, rng.integers(x0 + 1, width + 1), rng.integers(y0 + 1, height + 1))
        geometry = Geometry.of(int(width), int(height), int(size), fit)
        sx, sy = geometry.width / size, geometry.height / size
        touched = [
            (x, y)
            for x, y in itertools.product(range(size), repeat=2)
            if min(box[2], geometry.left + (x + 1) * sx) - max(box[0], geometry.left + x * sx) > 1e-9
            and min(box[3], geometry.top + (y + 1) * sy) - max(box[1], geometry.top + y * sy) > 1e-9
        ]
        expected = None
        if touched:
            xs, ys = zip(*touched, strict=True)
            expected = (min(xs), min(ys), max(xs) + 1, max(ys) + 1)
        assert geometry.map_box(box) == expected


def middle_of(length, size):
    """Return where the middle of a side lies in the source, in pixels of it: 224 of 256, rounded as references do."""
    whole = int(size * (256.0 / 224.0))
    before = round((whole - size) / 2.0)
    return before * length / whole, (before + size) * length / whole


@pytest.mark.parametrize("size", [1, 6, 7, 8, 32, 96, 112, 224])
def test_stretch_crop_is_the_middle_of_a_larger_square(size):
    """Oracle: the whole picture is stretched first, and then its middle is cut out."""
    rng = np.random.default_rng(size)
    whole = int(size * (256.0 / 224.0))
    before = round((whole - size) / 2.0)
    for _ in range(12):
        width, height = (int(side) for side in rng.integers(1, 300, 2))
        pixels = noise(height, width, int(rng.integers(1000)))
        stretched = np.asarray(Image.fromarray(pixels).resize((whole, whole), Image.Resampling.BILINEAR))
        expected = stretched[before : before + size, before : before + size].astype(int)
        found = read_rgb(encoded(Image.fromarray(pixels)), "x", size, "stretch-crop")
        assert np.abs(found - expected).max() <= 1, "one pass rounds once, two passes twice"
        alpha = (pixels[..., 0] > 200).astype(np.float32)
        soft = np.asarray(Image.fromarray(alpha).resize((whole, whole), Image.Resampling.BILINEAR))
        middle = soft[before : before + size, before : before + size]
        np.testing.assert_allclose(resize_alpha(alpha, size, "stretch-crop"), middle, atol=1e-4)


@pytest.mark.parametrize("size", [8, 32, 224])
def test_boxes_of_stretch_crop_pixel_by_pixel(size):
    """Oracle: the read pixels whose part of the source, found from where the middle lies, a box overlaps."""
    rng = np.random.default_rng(size)
    for _ in range(40):
        width, height = (int(side) for side in rng.integers(2, 400, 2))
        box = [sorted(rng.choice(side + 1, 2, replace=False).tolist()) for side in (width, height)]
        spans = []
        for (low, high), side in zip(box, (width, height), strict=True):
            left, right = middle_of(side, size)
            ends = np.linspace(left, right, size + 1)
            touched = [i for i in range(size) if min(high, ends[i + 1]) - max(low, ends[i]) > 1e-8]
            spans.append((touched[0], touched[-1] + 1) if touched else None)
        expected = None if None in spans else (spans[0][0], spans[1][0], spans[0][1], spans[1][1])
        geometry = Geometry.of(width, height, size, "stretch-crop")
        assert geometry.map_box((box[0][0], box[1][0], box[0][1], box[1][1])) == expected


def test_a_box_in_the_margin_of_stretch_crop_is_cut_away():
    geometry = Geometry.of(256, 512, 224, "stretch-crop")
    assert geometry.map_box((0, 0, 256, 512)) == (0, 0, 224, 224)
    assert geometry.map_box((16, 32, 18, 40)) == (0, 0, 2, 4)
    assert geometry.map_box((0, 0, 16, 512)) is None
    assert geometry.map_box((10, 20, 240, 34)) == (0, 0, 224, 1)


def test_boxes_at_all_four_borders_stay_exact():
    geometry = Geometry.of(300, 200, 64, "stretch")
    assert geometry.map_box((0, 0, 300, 200)) == (0, 0, 64, 64)
    assert geometry.map_box((0, 0, 1, 1)) == (0, 0, 1, 1)
    assert geometry.map_box((299, 199, 300, 200)) == (63, 63, 64, 64)
    assert Geometry.of(300, 200, 64, "crop").map_box((0, 0, 50, 200)) is None, "all of it was cropped away"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone_and_sizes_agree(orientation):
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[:5, :5] = 255
    data = encoded(Image.fromarray(pixels), "JPEG", quality=95, exif=TURNED % orientation)
    upright = read_rgb(data, "x")
    assert upright.shape[:2] == ((20, 30) if orientation < 5 else (30, 20))
    assert read_size(data, "x") == upright.shape[1::-1]
    corner = {1: (0, 0), 2: (0, 1), 3: (1, 1), 4: (1, 0), 5: (0, 0), 6: (0, 1), 7: (1, 1), 8: (1, 0)}[orientation]
    found = np.unravel_index(np.argmax([[upright[y, x, 0] for x in (1, -2)] for y in (1, -2)]), (2, 2))
    assert found == corner


def test_masks_of_every_kind_read_as_alpha():
    levels = np.array([[0, 51, 255]], np.uint8)
    assert read_alpha(encoded(Image.fromarray(levels)), "x").tolist() == [[0, pytest.approx(0.2), 1]]
    assert read_alpha(encoded(Image.fromarray((levels > 60).astype(np.uint8))), "x").tolist() == [[0, 0, 1]]
    sixteen = Image.fromarray(np.array([[0, 13107, 65535]], np.uint16))
    assert read_alpha(encoded(sixteen), "x")[0] == pytest.approx([0, 0.2, 1])
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[..., 3] = levels
    assert read_alpha(encoded(Image.fromarray(rgba)), "x")[0] == pytest.approx([0, 0.2, 1])
    assert read_alpha(encoded(Image.fromarray(levels > 60)), "x").tolist() == [[0, 0, 1]]


def test_alpha_is_resized_as_alpha():
    alpha = np.zeros((40, 40), np.float32)
    alpha[:, 20:] = 1
    small = resize_alpha(alpha, 5)
    assert small.dtype == np.float32
    assert 0 < small[0, 2] < 1, "a pixel that is half covered stays half covered"
    assert small.min() >= 0
    assert small.max() <= 1


def test_size_of_a_broken_file_says_what_is_wrong():
    with pytest.raises(InputError, match=r"picture a/b\.png: the file is empty"):
        read_size(b"", "a/b.png")
    with pytest.raises(InputError, match=r"picture a/b\.png: not a JPEG, PNG, WEBP, BMP, GIF, TIFF, "):
        read_size(b"hello", "a/b.png")
    assert MAX_PIXELS < 10**8


def test_an_alpha_channel_that_says_nothing_is_passed_over():
    """White on black, saved with an opaque alpha: the mask is what is white, not all of it."""
    levels = np.array([[0, 51, 255]], np.uint8)
    opaque = np.stack([levels, levels, levels, np.full_like(levels, 255)], -1)
    assert read_alpha(encoded(Image.fromarray(opaque)), "x")[0] == pytest.approx([0, 0.2, 1])
    grey = Image.merge("LA", [Image.fromarray(levels), Image.new("L", (3, 1), 255)])
    assert read_alpha(encoded(grey), "x")[0] == pytest.approx([0, 0.2, 1])
