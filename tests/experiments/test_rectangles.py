"""The largest free rectangle of a mask, against trying all of them and against the strips of one box."""

import numpy as np
import pytest

from clp_aug.contract import boxes
from experiments.matting.rectangles import largest_rectangle
from tests.oracles.rectangles import largest_area


@pytest.mark.parametrize("seed", range(60))
def test_any_mask_against_brute_force(seed):
    rng = np.random.default_rng(seed)
    free = rng.random(rng.integers(1, 9, 2)) < rng.uniform(0.3, 1)
    rectangle = largest_rectangle(free)
    if rectangle is None:
        assert not free.any()
        return
    x0, y0, x1, y1 = rectangle
    assert free[y0:y1, x0:x1].all()
    assert (x1 - x0) * (y1 - y0) == largest_area(free)


@pytest.mark.parametrize("seed", range(60))
def test_beside_one_box_it_is_as_large_as_the_strip(seed):
    rng = np.random.default_rng(seed)
    height, width = (int(n) for n in rng.integers(1, 30, 2))
    x0, y0 = int(rng.integers(width)), int(rng.integers(height))
    box = x0, y0, int(rng.integers(x0 + 1, width + 1)), int(rng.integers(y0 + 1, height + 1))
    strip, swept = boxes.largest_strip(box, height, width), largest_rectangle(~boxes.mask(box, height, width))
    assert (strip is None) == (swept is None)
    if strip is not None:
        assert boxes.area(np.array(strip)) == boxes.area(np.array(swept))
