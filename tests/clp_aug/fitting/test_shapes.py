"""Shapes fill the place they are given; edges differ as their names say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clp_aug.fitting.shapes import EDGES, LONGEST, OUTLINES, outline, place, soften

SEEDS = st.integers(0, 10_000)


def rng_of(seed):
    return np.random.default_rng(seed)


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.floats(0.05, 0.7), st.floats(0.05, 20), st.sampled_from([1, 7, 64, 224]))
def test_a_place_has_its_share_and_stays_mostly_inside(seed, share, aspect, size):
    left, top, width, height = place(share, aspect, size, rng_of(seed))
    exact = np.sqrt(share * aspect) * size, np.sqrt(share / aspect) * size
    shrink = min(1, LONGEST * size / max(exact))
    assert (width, height) == pytest.approx([max(1, side * shrink) for side in exact], abs=0.51)
    if shrink == 1 and min(width, height) > 20:
        assert width * height / size**2 == pytest.approx(share, rel=0.06)
    for start, side in ((left, width), (top, height)):
        inside = min(start + side, size) - max(start, 0)
        assert inside >= min(0.7 * side, size - 0.3 * side) - 1
        assert inside >= 1


def test_places_are_off_centre_and_cut_by_every_border():
    found = np.array([place(0.3, 1, 100, rng_of(seed)) for seed in range(300)])
    left, top, width, height = found.T
    for cut in (left < 0, top < 0, left + width > 100, top + height > 100):
        assert 0.1 < cut.mean() < 0.5
    centre = np.stack([left + width / 2, top + height / 2], 1)
    assert (np.abs(centre - 50).max(1) > 15).mean() > 0.5


@pytest.mark.parametrize("kind", OUTLINES)
@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_outline_fills_its_place(kind, seed):
    alpha = outline(kind, (10, 20, 70, 40), 100, rng_of(seed))
    assert alpha.dtype == np.float32
    assert alpha.min() == 0
    assert alpha.max() == 1
    rows, columns = np.flatnonzero((alpha > 0).any(1)), np.flatnonzero((alpha > 0).any(0))
    assert (rows[0], rows[-1]) == (pytest.approx(20, abs=2), pytest.approx(60, abs=2))
    assert (columns[0], columns[-1]) == (pytest.approx(10, abs=2), pytest.approx(80, abs=2))
    assert 0.02 < ((alpha > 0) & (alpha < 1)).mean() / (alpha > 0).mean() < 0.6, "its edge is smooth"


def test_ellipses_are_ellipses():
    """Area by area: pi / 4 of the rectangle when it lies along the axes, never less than half of that."""
    shares = [outline("ellipse", (10, 10, 80, 80), 100, rng_of(seed)).sum() / 80**2 for seed in range(20)]
    assert max(shares) <= np.pi / 4 * (82 / 80) ** 2, "OpenCV's smooth edge reaches a pixel further"
    assert min(shares) > np.pi / 8


@settings(max_examples=20, deadline=None)
@given(SEEDS, st.sampled_from(EDGES))
def test_soften_keeps_the_range_and_the_bulk(seed, edge):
    alpha = outline("ellipse", (20, 20, 60, 60), 100, rng_of(seed))
    found = soften(alpha, edge, rng_of(seed))
    assert found.shape == alpha.shape
    assert found.dtype == np.float32
    assert found.min() >= 0
    assert found.max() <= 1
    assert found.sum() == pytest.approx(alpha.sum(), rel=0.3)


def test_edges_differ_as_named():
    alpha = outline("polygon", (20, 20, 180, 180), 224, rng_of(1))
    sharp, blurred, frayed = (soften(alpha, edge, rng_of(2)) for edge in EDGES)

    def soft(found):
        return ((found > 0.02) & (found < 0.98)).sum()

    def border(found):
        inside = found > 0.5
        return (inside[1:] != inside[:-1]).sum() + (inside[:, 1:] != inside[:, :-1]).sum()

    assert np.array_equal(sharp, alpha)
    assert soft(blurred) > 2 * soft(alpha)
    assert border(frayed) > 1.1 * border(alpha)
