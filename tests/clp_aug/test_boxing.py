import numpy as np
import pytest

from clp_aug import boxing
from clp_aug.contract import boxes
from clp_aug.contract.schema import EMPTY, FULL, OK, TINY


def test_every_box_position_and_size_is_found_exactly():
    for height, width in ((1, 1), (1, 9), (9, 1), (7, 8)):
        for x0 in range(width):
            for y0 in range(height):
                for x1 in range(x0 + 1, width + 1):
                    for y1 in range(y0 + 1, height + 1):
                        alpha = boxes.mask((x0, y0, x1, y1), height, width).astype(np.float32)
                        assert boxing.enclosing_box(boxing.foreground(alpha)) == (x0, y0, x1, y1)


@pytest.mark.parametrize("seed", range(40))
def test_enclosing_box_against_coordinates(seed):
    solid = np.random.default_rng(seed).random((13, 17)) < 0.03
    ys, xs = np.nonzero(solid)
    expected = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) if len(xs) else None
    assert boxing.enclosing_box(solid) == expected


def test_a_stray_pixel_does_not_stretch_the_box_but_a_leg_stays():
    alpha = np.zeros((32, 32), np.float32)
    alpha[10:20, 12:18] = 1
    alpha[22:26, 12:15] = 1  # a leg: 12 of 60 pixels
    alpha[31, 31] = 1
    assert boxing.enclosing_box(boxing.foreground(alpha)) == (12, 10, 18, 26)


def test_faint_mattes_and_empty_ones():
    alpha = np.zeros((20, 20), np.float32)
    alpha[5:9, 5:9] = 0.3
    alpha[5, 5] = 0.1
    assert boxing.foreground(alpha).sum() == 15, "half of a faint maximum"
    assert not boxing.foreground(alpha * 0.5).any(), "a matte that never reaches 0.2 shows nothing"
    assert not boxing.foreground(np.full((4, 4), np.nan)).any()


@pytest.mark.parametrize(
    ("box", "side", "outcome"),
    [
        (None, 100, EMPTY),
        ((0, 0, 100, 95), 100, OK),
        ((0, 0, 100, 96), 100, FULL),
        ((0, 0, 10, 10), 100, OK),
        ((0, 0, 9, 11), 100, TINY),
        ((0, 0, 3, 60), 100, TINY),
        ((0, 0, 4, 4), 32, OK),
        ((0, 0, 2, 1), 2, TINY),
    ],
)
def test_gates(box, side, outcome):
    assert boxing.judge(box, side, side) == outcome


def test_pad_stops_at_the_border():
    assert boxing.pad((1, 5, 9, 10), 3, 10, 10) == (0, 2, 10, 10)
