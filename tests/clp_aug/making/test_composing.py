"""Pixels of composites, beside loops over single pixels."""

import numpy as np
import pytest

from clp_aug.making.composing import CUTOUT_SHARE, composite, covering, frame_cutout, layer_of, near_the_solid, resized


def scene(rng, height, width):
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    return image, rng.random((height, width)).astype(np.float32)


@pytest.mark.parametrize("seed", range(8))
def test_blending_is_that_of_each_pixel(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 7, 2)
    image, alpha = scene(rng, height, width)
    behind = rng.integers(0, 256, (height, width, 3), np.uint8)
    picture, mask = composite(layer_of(image, alpha), behind)
    for y in range(height):
        for x in range(width):
            for channel in range(3):
                a = float(alpha[y, x])
                expected = a * int(image[y, x, channel]) + (1 - a) * int(behind[y, x, channel])
                assert abs(int(picture[y, x, channel]) - expected) <= 0.51
            assert abs(int(mask[y, x]) - 255 * a) <= 0.51
    assert picture.dtype == mask.dtype == np.uint8


def test_alpha_of_zero_and_one_are_exact():
    rng = np.random.default_rng(0)
    image, _ = scene(rng, 5, 4)
    behind = rng.integers(0, 256, (5, 4, 3), np.uint8)
    np.testing.assert_array_equal(composite(layer_of(image, np.ones((5, 4))), behind)[0], image)
    np.testing.assert_array_equal(composite(layer_of(image, np.zeros((5, 4))), behind)[0], behind)


@pytest.mark.parametrize(
    ("size", "frame", "axis", "expected"),
    [
        ((8, 8), (2, 4), 0, [50, 90]),  # rows 2 to 6: centres 3 and 5 of a ramp of 20 a pixel
        ((4, 10), (6, 3), 1, [77, 90, 103]),  # columns 4 to 6, a third of a pixel short of their ends
    ],
)
def test_a_background_covers_the_frame_from_its_centre(size, frame, axis, expected):
    ramp = np.arange(size[axis], dtype=np.uint8) * 20
    background = np.broadcast_to(ramp[:, None, None] if axis == 0 else ramp[None, :, None], (*size, 3))
    found = covering(np.ascontiguousarray(background), *frame)
    assert found.shape == (*frame, 3)
    inner = np.moveaxis(found, axis, 0)[:, 1:-1]  # the ends of the other axis do not matter on a ramp
    np.testing.assert_allclose(inner, np.broadcast_to(np.array(expected)[:, None, None], inner.shape), atol=1)


@pytest.mark.parametrize("seed", range(20))
def test_a_cutout_is_whole_somewhere_in_its_frame(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(3, 30, 2)
    alpha = np.zeros((40, 40))
    y, x = rng.integers(0, 10, 2)
    alpha[y : y + height, x : x + width] = rng.uniform(0.2, 1, (height, width))
    frame = frame_cutout(layer_of(np.full((40, 40, 3), 90, np.uint8), alpha), rng)
    side = len(frame)
    assert frame.shape == (side, side, 4)
    assert frame[..., 3].sum() == pytest.approx(alpha.sum(), rel=1e-5)
    share = height * width / side**2
    assert share <= CUTOUT_SHARE[1] * 1.1  # sides are whole pixels
    assert share >= CUTOUT_SHARE[0] * 0.9 or side <= round(1.05 * max(height, width))


def test_frames_of_one_cutout_differ_by_their_generator():
    layer = layer_of(np.full((9, 9, 3), 90, np.uint8), np.ones((9, 9)))
    frames = [frame_cutout(layer, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(frames[0], frames[1])
    assert frames[0].shape != frames[2].shape or (frames[0] != frames[2]).any()


@pytest.mark.parametrize(
    ("shape", "longest", "expected"),
    [
        ((40, 20), 10, (10, 5)),
        ((20, 40), 10, (5, 10)),
        ((3, 9), 27, (9, 27)),
        ((7, 5), None, (7, 5)),
        ((99, 1), 16, (16, 1)),
    ],
)
def test_the_longer_side_is_what_was_asked_for(shape, longest, expected):
    assert resized(np.ones((*shape, 4), np.float32), longest).shape == (*expected, 4)


def test_colours_under_transparent_pixels_never_bleed_in():
    image = np.full((20, 20, 3), 255, np.uint8)
    image[5:13, 5:13] = (200, 0, 0)
    alpha = np.zeros((20, 20))
    alpha[5:13, 5:13] = 1
    small = resized(layer_of(image, alpha), 7)
    seen = small[..., 3] > 1e-3
    np.testing.assert_allclose(
        small[seen][:, :3] / small[seen][:, 3:], np.tile([200.0, 0, 0], (seen.sum(), 1)), atol=0.1
    )


def test_haze_far_from_the_object_goes_and_the_object_stays():
    alpha = np.full((100, 100), 0.3, np.float32)
    alpha[40:60, 40:60] = 0.9
    found = near_the_solid(alpha)
    np.testing.assert_allclose(found[40:60, 40:60], 0.9, atol=1e-6)
    np.testing.assert_allclose(found[39, 50], 0.3, atol=1e-6)  # the edge of the object is soft
    far = np.ones((100, 100), bool)
    far[33:67, 33:67] = False
    assert (found[far] == 0).all()
    assert (found <= alpha + 1e-6).all()


@pytest.mark.parametrize("seed", range(20))
def test_a_background_of_nearly_the_shape_of_the_frame_covers_it(seed):
    """Rounding must not put the window beside the picture."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(5, 400, 2)
    for factor in rng.uniform(0.2, 4, 30):
        shape = (max(1, round(height * factor)), max(1, round(width * factor)), 3)
        assert covering(np.zeros(shape, np.uint8), height, width).shape == (height, width, 3)


def test_a_background_that_has_the_shape_but_for_rounding_covers_the_frame():
    for side in range(1, 60):
        for frame in range(1, 60):
            assert covering(np.zeros((side, side, 3), np.uint8), frame, frame).shape == (frame, frame, 3)
