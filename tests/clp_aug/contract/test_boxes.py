import numpy as np
import pytest

from clp_aug.contract import boxes
from tests.oracles.rectangles import largest_area


def slow_iou(a, b, side=12):
    a, b = boxes.mask(a, side, side), boxes.mask(b, side, side)
    return (a & b).sum() / (a | b).sum()


def random_box(rng, side=12):
    x0, y0 = rng.integers(side, size=2)
    return tuple(int(v) for v in (x0, y0, rng.integers(x0 + 1, side + 1), rng.integers(y0 + 1, side + 1)))


def test_iou_and_area_count_pixels():
    rng = np.random.default_rng(0)
    pairs = [(random_box(rng), random_box(rng)) for _ in range(200)]
    first, second = (np.array(part) for part in zip(*pairs, strict=True))
    assert boxes.iou(first, second) == pytest.approx([slow_iou(a, b) for a, b in pairs])
    assert boxes.area(first).tolist() == [boxes.mask(a, 12, 12).sum() for a, _ in pairs]
    assert boxes.area(np.array([5, 5, 3, 9])) == 0


def test_the_centred_box_is_centred_and_never_empty():
    assert boxes.centred(100, 50) == (10, 20, 40, 80)
    for height in range(1, 9):
        for width in range(1, 9):
            x0, y0, x1, y1 = boxes.centred(height, width)
            assert 0 <= x0 < x1 <= width
            assert 0 <= y0 < y1 <= height
            assert abs(x0 - (width - x1)) <= 1
            assert abs(y0 - (height - y1)) <= 1


def test_areas_are_compared_not_lengths():
    # the right strip is wider than the bottom strip is high, but the bottom strip is larger by area
    assert boxes.largest_strip((0, 0, 70, 20), 40, 100) == (0, 20, 100, 40)


def test_ties_go_top_bottom_left_right():
    assert boxes.largest_strip((2, 2, 4, 4), 6, 6) == (0, 0, 6, 2)


def test_a_box_that_covers_the_picture_leaves_no_strip():
    assert boxes.largest_strip((0, 0, 6, 4), 4, 6) is None


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 7), (7, 1), (5, 8), (8, 5)])
def test_every_box_strip_against_brute_force(height, width):
    for x0 in range(width):
        for y0 in range(height):
            for x1 in range(x0 + 1, width + 1):
                for y1 in range(y0 + 1, height + 1):
                    box = (x0, y0, x1, y1)
                    free, strip = ~boxes.mask(box, height, width), boxes.largest_strip(box, height, width)
                    assert (strip is None) == (not free.any())
                    if strip is not None:
                        a, b, c, d = strip
                        assert free[b:d, a:c].all()
                        assert boxes.area(np.array(strip)) == largest_area(free)


@pytest.mark.parametrize(
    ("box", "height", "width", "strip"),
    [
        ((0, 0, 6, 8), 8, 8, (6, 0, 8, 8)),
        ((0, 0, 7, 8), 8, 8, None),  # a strip of one pixel
        ((0, 0, 95, 100), 100, 100, (95, 0, 100, 100)),
        ((0, 0, 96, 100), 100, 100, None),  # under 5 % of the side
        ((0, 0, 8, 8), 8, 8, None),
    ],
)
def test_a_strip_to_tile_with_is_not_thin(box, height, width, strip):
    assert boxes.usable_strip(box, height, width) == strip
