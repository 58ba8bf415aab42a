"""Who gives a picture its background: never itself, the right class, and every class and picture about as often."""

import numpy as np
import pytest

from clp_aug.auditing.mixing import MOST_OBJECT, Mixer, Pool, Recent, alpha_of
from clp_aug.contract.audits import MIX_OTHER, MIX_SAME
from clp_aug.contract.schema import FACTUAL
from clp_aug.fills.scene import Materials, Scene
from clp_aug.sharding import Copy


def pool_of(rng, pictures, classes, size=32):
    label = rng.integers(0, classes, pictures)
    x0, y0 = rng.integers(0, size - 4, (2, pictures))
    box = np.stack([x0, y0, rng.integers(x0 + 1, size + 1), rng.integers(y0 + 1, size + 1)], 1)
    return Pool(rng.permutation(1000)[:pictures], label, box, size, lambda row: None)


def usable(pool, sample_id, label, fill):
    """The slow way: every row that may give a background."""
    rows = []
    for row in range(len(pool.label)):
        x0, y0, x1, y1 = pool.box[row].tolist()
        small = (x1 - x0) * (y1 - y0) <= MOST_OBJECT * pool.size**2
        fits = (pool.label[row] == label) == (fill == MIX_SAME)
        if small and fits and pool.sample_id[row] != sample_id:
            rows.append(row)
    return rows


@pytest.mark.parametrize("seed", range(20))
def test_draws_are_usable_and_without_repetition(seed):
    rng = np.random.default_rng(seed)
    pool = pool_of(rng, int(rng.integers(2, 30)), int(rng.integers(2, 5)))
    sample_id, label = int(rng.choice(pool.sample_id)), int(rng.integers(0, 4))
    for fill in (MIX_SAME, MIX_OTHER):
        rows = usable(pool, sample_id, label, fill)
        drawn = [pool.choose(sample_id, label, fill, draw, seed) for draw in range(5)]
        if not rows:
            assert drawn == [None] * 5
            continue
        assert set(drawn) <= set(rows)
        classes = [int(pool.label[row]) for row in drawn]
        there = len(set(pool.label[rows].tolist()))
        assert len(set(classes[:there])) == min(there, 5), "each class once before any twice"
        for c in set(classes):
            own = [row for row in drawn if pool.label[row] == c]
            have = sum(pool.label[row] == c for row in rows)
            assert len(set(own)) == min(len(own), have)


def test_every_picture_of_a_class_is_drawn_about_as_often():
    label, size = np.repeat([0, 1], 10), 32
    pool = Pool(np.arange(20), label, np.tile([4, 4, 20, 20], (20, 1)), size, lambda row: None)
    counts = np.bincount([pool.choose(100 + i, 0, MIX_OTHER, 0, seed=0) for i in range(2000)], minlength=20)
    assert counts[:10].sum() == 0
    assert abs(counts[10:] - 200).max() < 4 * np.sqrt(200)


def test_a_choice_hangs_on_its_key_alone():
    rng = np.random.default_rng(0)
    pool = pool_of(rng, 25, 3)
    first = [pool.choose(7, 1, MIX_OTHER, draw, 3) for draw in range(4)]
    pool.choose(8, 0, MIX_SAME, 0, 3)
    assert first == [pool.choose(7, 1, MIX_OTHER, draw, 3) for draw in range(4)]
    assert first != [pool.choose(7, 1, MIX_OTHER, draw, 4) for draw in range(4)]


def test_recent_keeps_so_many():
    made, recent = [], Recent(2)
    for key in (1, 2, 1, 3, 1, 3):
        assert recent.get(key, lambda key=key: made.append(key) or 10 * key) == 10 * key
    assert made == [1, 2, 3, 1], "the first to come is the first to go"


def test_a_matte_that_shows_nothing_cuts_nothing_out():
    matte = np.zeros((8, 8), np.uint8)
    assert alpha_of(matte, (2, 2, 6, 6)) is None
    matte[0, 0] = 255
    assert alpha_of(matte, (2, 2, 6, 6)) is None, "what lies outside the box is not of the object"
    matte[3, 4] = 200
    alpha = alpha_of(matte, (2, 2, 6, 6))
    assert alpha.dtype == np.float32
    assert alpha[3, 4] == np.float32(200 / 255)
    assert alpha.sum() == alpha[3, 4]


def test_a_background_whose_object_cannot_be_removed_is_none():
    """In a small picture no strip beside the box is wide enough to tile: no grey patch is passed on as background."""
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    wide, small = (1, 1, 7, 7), (1, 1, 4, 4)  # both take less than MOST_OBJECT
    for box, fill, background in ((wide, "grey", -1), (small, MIX_SAME, 5)):
        pool = Pool(np.array([5]), np.array([1]), np.array([box]), 8, lambda row, box=box: Scene(picture, box, 1))
        made = Mixer(pool, "tile", None, 0, Materials()).view(9, Scene(picture, small, 1), Copy(FACTUAL, MIX_SAME, 0))
        assert (made.fill, made.background_id) == (fill, background)
