import numpy as np
import pytest

from clp_aug.contract import boxes
from clp_aug.contract.boxes import largest_strip
from clp_aug.fills.rectangles import largest_rectangle
from tests.oracles.rectangles import largest_area


@pytest.mark.parametrize("seed", range(60))
def test_any_mask_against_brute_force(seed):
    rng = np.random.default_rng(seed)
    free = rng.random(rng.integers(1, 9, 2)) < rng.uniform(0.3, 1)
    found = largest_rectangle(free)
    if found is None:
        assert not free.any()
        return
    x0, y0, x1, y1 = found
    assert free[y0:y1, x0:x1].all()
    assert (x1 - x0) * (y1 - y0) == largest_area(free)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 7), (7, 1), (5, 8), (8, 5)])
def test_every_box_strip_against_brute_force_and_the_sweep(height, width):
    for x0 in range(width):
        for y0 in range(height):
            for x1 in range(x0 + 1, width + 1):
                for y1 in range(y0 + 1, height + 1):
                    box = (x0, y0, x1, y1)
                    free = ~boxes.mask(box, height, width)
                    strip, swept = largest_strip(box, height, width), largest_rectangle(free)
                    assert (strip is None) == (swept is None) == (not free.any())
                    if strip is not None:
                        a, b, c, d = strip
                        assert free[b:d, a:c].all()
                        assert boxes.area(np.array(strip)) == boxes.area(np.array(swept)) == largest_area(free)
