"""Items are keyed; the matte says where the picture changed; shares, sizes and kinds are those that are stated."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clp_aug.contract.errors import UsageError
from clp_aug.fitting import composites
from clp_aug.fitting.composites import (
    BOXED,
    CUTOUT,
    EMPTY,
    INSIDE,
    MOVED,
    NATURAL,
    SEVERAL,
    SHAPE,
    SHARES,
    Composites,
    Truth,
    jitter,
    paste,
    resized,
    through,
)


def noise(seed, height, width):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def disc(height, width):
    rows, columns = np.mgrid[:height, :width]
    return ((rows - height / 2) ** 2 + (columns - width / 2) ** 2 < (min(height, width) / 2) ** 2).astype(np.float32)


def natural(seed):
    """The object is red, what is unknown is blue, all else is green."""
    alpha, weight = disc(60, 80), np.ones((60, 80), np.float32)
    weight[:, 36:44] = 0
    picture = np.where(alpha[..., None] > 0, (255, 0, 0), (0, 255, 0)).astype(np.uint8)
    picture[weight == 0] = (0, 0, 255)
    return Truth(picture, alpha, weight)


def boxed(seed):
    """All of a box is red and unknown."""
    alpha = np.zeros((48, 64), np.float32)
    alpha[10:40, 20:50] = 1
    return Truth(np.where(alpha[..., None] > 0, (255, 0, 0), (0, 255, 0)).astype(np.uint8), alpha, 1 - alpha)


def made(seed=0, size=64, foregrounds=3, naturals=2, boxes=2):
    return Composites(
        [(noise(i, 40 + 10 * i, 50), disc(40 + 10 * i, 50)) for i in range(foregrounds)],
        [noise(10 + i, 50, 70) for i in range(3)],
        [natural(i) for i in range(naturals)],
        seed,
        size,
        [boxed(i) for i in range(boxes)],
    )


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_items_are_keyed():
    """Any order, any instance, the same bytes; another index or seed, other bytes."""
    data, again = made(), made()
    forwards = [data.item(i) for i in range(12)]
    backwards = [again.item(i) for i in reversed(range(12))][::-1]
    assert all(same(a, b) for a, b in zip(forwards, backwards, strict=True))
    assert len({truth.picture.tobytes() for truth in forwards}) == 12
    other = made(seed=1)
    assert not any(same(a, other.item(i)) for i, a in enumerate(forwards))


def test_types_and_sizes():
    for size in (33, 64):
        data = made(size=size)
        for i in range(20):
            truth = data.item(i)
            assert truth.picture.shape == (size, size, 3)
            assert truth.alpha.shape == truth.weight.shape == (size, size)
            assert (truth.picture.dtype, truth.alpha.dtype, truth.weight.dtype) == (np.uint8, np.float32, np.float32)
            assert 0 <= truth.alpha.min() <= truth.alpha.max() <= 1
            assert set(np.unique(truth.weight)) <= {0, np.float32(INSIDE), 1}
    assert Composites([], [noise(0, 9, 9)], [], 0).item(0).picture.shape == (224, 224, 3)


def test_shares_are_those_stated():
    data, n = made(), 6000
    plans = [data.plan(i) for i in range(n)]
    assert sum(SHARES.values()) == pytest.approx(1)
    assert SHARES[EMPTY] == 0.12
    for kind, share in SHARES.items():
        found = sum(plan.kind == kind for plan in plans) / n
        assert found == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / n)), kind
    sides = np.array([plan.side for plan in plans])
    assert (sides > 0).mean() == pytest.approx(0.20, abs=0.02)
    assert set(sides) == {0, *range(32, 65)}


def test_the_inside_of_a_drawn_box_counts_little_and_what_blends_with_it_too():
    data = made(foregrounds=0, naturals=0, size=64)
    for index in range(40):
        if data.plan(index).kind == BOXED:
            truth = data.compose(index, BOXED)
            assert set(np.unique(truth.weight)) <= {np.float32(INSIDE), np.float32(1)}
            assert (truth.weight[truth.alpha > 1e-3] == np.float32(INSIDE)).all()
            assert (truth.alpha[truth.weight == 1] < 1e-3).all()
            red = truth.picture[..., 0] > truth.picture[..., 1]
            assert (truth.alpha > 0.6)[red].mean() > 0.9


def test_kinds_without_material_are_left_out():
    assert set(made(foregrounds=0).shares) == {NATURAL, MOVED, SHAPE, BOXED, EMPTY}
    assert set(made(naturals=0).shares) == {CUTOUT, SEVERAL, SHAPE, BOXED, EMPTY}
    assert set(made(boxes=0).shares) == {NATURAL, MOVED, CUTOUT, SEVERAL, SHAPE, EMPTY}
    shares = made(foregrounds=0, naturals=0, boxes=0).shares
    total = SHARES[SHAPE] + SHARES[EMPTY]
    assert shares == {kind: pytest.approx(SHARES[kind] / total) for kind in (SHAPE, EMPTY)}
    with pytest.raises(UsageError, match="0 backgrounds: expected at least 1 picture without an object; add one"):
        Composites([], [], [natural(0)], 0)


def background_of(data, index):
    return data.background(composites.rng_for(data.seed, index, "background"))


@pytest.mark.parametrize("kind", [CUTOUT, SEVERAL, SHAPE])
def test_outside_the_matte_the_background_is_untouched(kind):
    data = made(size=96)
    for index in range(15):
        found, background = data.compose(index, kind), background_of(data, index)
        outside = found.alpha == 0
        assert np.array_equal(found.picture[outside], background[outside])
        changed = (found.picture != background).any(2)
        assert changed[found.alpha > 0.9].mean() > 0.9, "inside it, it is another picture"
        assert 0.01 < (found.alpha > 0.5).mean() < 0.8
        assert (found.weight == 1).all()


def test_a_moved_object_stands_on_another_background():
    data, cut = made(size=96), 0
    for index in range(15):
        found, background = data.compose(index, MOVED), background_of(data, index)
        outside = found.alpha == 0
        assert np.array_equal(found.picture[outside], background[outside])
        assert (found.picture != background).any(2)[found.alpha > 0.9].mean() > 0.9
        cut += not found.weight.all()
        columns = np.flatnonzero((found.weight == 0).any(0))
        assert len(columns) < 48, "the band that was unknown is, and nothing far from it"
    assert cut > 10


def test_a_natural_picture_without_an_object_moves_nothing():
    blank = Truth(noise(5, 30, 30), np.zeros((30, 30), np.float32), np.ones((30, 30), np.float32))
    data = Composites([], [noise(1, 30, 30)], [blank], 0, 32)
    found = data.compose(3, MOVED)
    assert np.array_equal(found.picture, background_of(data, 3))
    assert not found.alpha.any()
    assert found.weight.all()


def test_empties_are_backgrounds():
    data = made()
    found = data.compose(5, EMPTY)
    assert np.array_equal(found.picture, background_of(data, 5))
    assert not found.alpha.any()
    assert found.weight.all()


def test_several_are_several():
    opaque = Composites([(noise(0, 20, 20), np.ones((20, 20), np.float32))], [noise(1, 30, 30)], [], 0, 64)
    counts = [
        cv2.connectedComponents((opaque.compose(i, SEVERAL).alpha > 0.5).view(np.uint8))[0] - 1 for i in range(60)
    ]
    assert max(counts) == 3
    assert sum(count >= 2 for count in counts) > 20, "the others overlap"
    assert all(
        cv2.connectedComponents((opaque.compose(i, CUTOUT).alpha > 0.5).view(np.uint8))[0] == 2 for i in range(9)
    )


def test_natural_pictures_keep_their_truth():
    data = made(size=80)
    reached = set()
    for index in range(20):
        picture, alpha, weight = data.compose(index, NATURAL)
        assert not weight[picture[..., 2] > 0].any(), "what blends with the unknown is unknown"
        known = weight == 1
        assert known.mean() > 0.5
        np.testing.assert_allclose(picture[..., 0][known] / 255, alpha[known], atol=0.01)
        reached |= {bool(alpha[:, 0].any()), bool(alpha[0].any())}
    assert reached == {True, False}, "some windows cut the object, some do not"


def test_mirrored_half_of_the_time():
    """The left half of every natural picture is white."""
    half = np.zeros((40, 40), np.float32)
    half[:, :20] = 1
    picture = np.repeat((half * 255).astype(np.uint8)[..., None], 3, 2)
    data = Composites([], [picture], [Truth(picture, half, np.ones_like(half))], 0, 32)
    found = [data.compose(i, NATURAL) for i in range(100)]
    left = np.array([truth.alpha[:, :8].mean() > truth.alpha[:, -8:].mean() for truth in found])
    assert 0.3 < left.mean() < 0.7
    assert all(np.array_equal(truth.picture[..., 0] > 127, truth.alpha > 0.5) for truth in found)


def paste_by_pixel(picture, alpha, pixels, cover, left, top):
    picture, alpha = picture.copy(), alpha.copy()
    for y, x in np.ndindex(cover.shape):
        v, u = y + top, x + left
        if 0 <= v < len(picture) and 0 <= u < len(picture):
            a = float(cover[y, x])
            for c in range(3):
                picture[v, u, c] = np.rint(np.float32(a * int(pixels[y, x, c]) + (1 - a) * int(picture[v, u, c])))
            alpha[v, u] = alpha[v, u] + (1 - alpha[v, u]) * a
    return picture, alpha


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 999), st.integers(1, 9), st.integers(1, 9), st.integers(-3, 8), st.integers(-3, 8))
def test_paste_pixel_by_pixel(seed, width, height, left, top):
    """At its own size a foreground is not resized, so every pixel can be worked out."""
    rng = np.random.default_rng(seed)
    left, top = max(left, 1 - width), max(top, 1 - height)  # as `place`: something is seen
    picture, alpha = noise(seed, 10, 10), rng.choice([0, 0.5, 1], (10, 10)).astype(np.float32)
    pixels, cover = noise(seed + 1, height, width), rng.choice([0, 0.25, 1], (height, width)).astype(np.float32)
    kept = picture.copy(), alpha.copy()
    found = paste(picture, alpha, pixels, cover, (left, top, width, height))
    expected = paste_by_pixel(picture, alpha, pixels, cover, left, top)
    np.testing.assert_allclose(found[0].astype(int), expected[0].astype(int), atol=1)  # halves round either way
    np.testing.assert_allclose(found[1], expected[1], atol=1e-6)
    assert same((picture, alpha), kept), "its arguments are not changed"


def test_hidden_colours_do_not_bleed():
    """A white object whose transparent surroundings are stored as red, shrunk onto black: nothing is red."""
    pixels, cover = np.full((40, 40, 3), 255, np.uint8), disc(40, 40)
    pixels[cover == 0] = (255, 0, 0)
    picture, alpha = paste(
        np.zeros((16, 16, 3), np.uint8), np.zeros((16, 16), np.float32), pixels, cover, (2, 2, 11, 11)
    )
    assert ((alpha > 0) & (alpha < 1)).any()
    assert np.array_equal(picture[..., 0], picture[..., 1])
    np.testing.assert_allclose(picture[..., 0] / 255, alpha, atol=0.003)


def test_jitter_changes_colours_and_keeps_places():
    flat = np.full((4, 6, 3), (200, 100, 50), np.uint8)
    flat[0, 0] = 0
    found = [jitter(flat, np.random.default_rng(seed)) for seed in range(200)]
    assert all(f.shape == flat.shape and f.dtype == np.uint8 for f in found)
    assert all((f[1:] == f[1, 1]).all() for f in found), "equal pixels stay equal"
    colours = np.array([f[1, 1].astype(int) for f in found])
    assert len(np.unique(colours, axis=0)) > 150
    assert (colours.std(0) > 10).all()
    assert np.array_equal(flat[1, 1], (200, 100, 50)), "its argument is not changed"


def test_jitter_by_hand(monkeypatch):
    """With every draw in its middle: contrast 1, gain 1 and saturation 0.95."""

    class Middle:
        def random(self):
            return 0.5

        def uniform(self, low, high, n=None):
            return (low + high) / 2 * (1 if n is None else np.ones(n))

    found = jitter(np.array([[[200, 100, 50]]], np.uint8), Middle())
    grey = 0.299 * 200 + 0.587 * 100 + 0.114 * 50
    expected = [0.95 * value + 0.05 * grey for value in (200, 100, 50)]
    np.testing.assert_allclose(found[0, 0], expected, atol=0.51)


def test_thumbnails_lose_detail_and_keep_the_mean():
    picture = noise(0, 128, 128)
    found = through(picture, 32)
    assert found.shape == picture.shape
    assert found.mean() == pytest.approx(picture.mean(), abs=1)
    assert found.std() < 0.5 * picture.std()
    small = cv2.resize(found, (32, 32), interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(small - resized(picture, 32, 32)).mean() < 6


def test_what_is_small_lacks_detail_and_its_matte_does_not():
    data = made(size=128)
    index = next(i for i in range(200) if data.plan(i).side and data.plan(i).kind == CUTOUT)
    found, sharp = data.item(index), data.compose(index, CUTOUT)
    assert np.array_equal(found.alpha, sharp.alpha)
    expected = through(jitter(sharp.picture, composites.rng_for(data.seed, index, "colour")), data.plan(index).side)
    assert np.array_equal(found.picture, expected)
