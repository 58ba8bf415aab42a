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


@pytest.mark.parametrize(
    ("faint", "box", "expected"),
    [
        ("top", (0, 0, 40, 40), (0, 2, 40, 40)),
        ("bottom", (0, 0, 40, 40), (0, 0, 40, 38)),
        ("left", (0, 0, 40, 40), (2, 0, 40, 40)),
        ("right", (0, 0, 40, 40), (0, 0, 38, 40)),
        ("nothing", (0, 0, 40, 40), (0, 2, 40, 40)),
        ("nothing", (1, 0, 40, 40), (2, 0, 40, 40)),
        ("left", (0, 0, 40, 39), (0, 0, 40, 38)),
    ],
)
def test_a_full_box_is_cut_where_least_of_the_matte_is_lost(faint, box, expected):
    """Of equal sides the one that cuts off less, then the first of top, bottom, left, right."""
    matte = np.full((40, 40), 200, np.uint8)
    where = {"top": np.s_[:3], "bottom": np.s_[-3:], "left": np.s_[:, :3], "right": np.s_[:, -3:], "nothing": np.s_[:0]}
    matte[where[faint]] = 130
    assert boxing.cut_to_gate(box, matte) == expected


@pytest.mark.parametrize("seed", range(20))
def test_the_cut_against_every_side_tried(seed):
    """Oracle: of all boxes with one side moved in until 5 % is free, none keeps more of the matte."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(20, 60, 2).tolist()
    matte = rng.integers(0, 256, (height, width)).astype(np.uint8)
    x0, y0, x1, y1 = whole = (int(rng.integers(2)), int(rng.integers(2)), width, height)
    down, across = max(2, int(np.ceil(0.05 * height))), max(2, int(np.ceil(0.05 * width)))
    tried = [(x0, down, x1, y1), (x0, y0, x1, height - down), (across, y0, x1, y1), (x0, y0, width - across, y1)]
    kept = [int(matte[boxes.mask(box, height, width)].sum()) for box in tried]
    box = boxing.cut_to_gate(whole, matte)
    assert box in tried
    assert matte[boxes.mask(box, height, width)].sum() == max(kept)
    assert boxing.judge(box, height, width) == OK
    assert boxes.usable_strip(box, height, width) is not None


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 2), (1, 9), (9, 1), (2, 1)])
def test_a_picture_of_a_few_pixels_has_nothing_to_cut(height, width):
    box = boxing.cut_to_gate((0, 0, width, height), np.full((height, width), 255, np.uint8))
    assert box is None or boxing.judge(box, height, width) == OK


def test_pad_stops_at_the_border():
    assert boxing.pad((1, 5, 9, 10), 3, 10, 10) == (0, 2, 10, 10)
