"""cagan that sees the neighbourhood of its box alone: what that is, where it lies, and what a shard says of it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clp_aug.contract.errors import SettingError
from clp_aug.contract.seeds import rng_for
from clp_aug.fills import CF, infill, read_options
from clp_aug.fills.cagan import LEAST, STRIDE, Options, cagan_all, nearby, reach
from clp_aug.fills.scene import Materials, Scene
from clp_aug.nets.layouts import STRIDE as STRIDE_OF_THE_NETWORK

H, W = 70, 93


def scene_of(box, seed=0, height=H, width=W):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Scene(image, box, 1, np.ones((height, width), np.float32))


def filled(scene, context):
    return infill("cagan", CF, scene, rng_for(0, 0, ""), Materials(), Options(cagan_context=context))


@given(st.data())
def test_a_neighbourhood_holds_the_box_and_what_was_asked_for(data):
    side = data.draw(st.integers(1, 300))
    low = data.draw(st.integers(0, side - 1))
    high, context = data.draw(st.integers(low + 1, side)), data.draw(st.floats(0.01, 9))
    first, last = reach(low, high, context, side)
    far = max(context * (high - low), LEAST)
    assert 0 <= first <= max(low - far, 0)
    assert min(high + far, side) <= last <= side
    assert first % STRIDE == 0
    assert last % STRIDE == 0 or last == side
    assert first > low - far - STRIDE
    assert last < high + far + STRIDE


def test_by_hand():
    assert STRIDE == STRIDE_OF_THE_NETWORK
    assert reach(40, 60, 0.5, 160) == (24, 72)
    assert reach(40, 60, 0.01, 160) == (32, 72)
    assert reach(3, 60, 1, 93) == (0, 93)
    scene = scene_of((40, 20, 60, 36))
    near, inside = nearby(scene, scene.box, 0.5)
    assert inside == near.box == (16, 12, 36, 28)
    assert near.image.shape == (40, 48, 3)
    assert near.alpha.shape == (40, 48)
    assert np.array_equal(near.image, scene.image[8:48, 24:72])
    assert near.label == 1


@pytest.mark.parametrize("context", [0, 9.0])
def test_the_whole_picture_is_the_scene_itself(context):
    scene = scene_of((40, 20, 60, 36))
    assert nearby(scene, scene.box, context) == (scene, scene.box)
    assert np.array_equal(filled(scene, 9.0)[0], filled(scene, 0.0)[0])


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_what_is_filled_is_the_neighbourhoods_box(data):
    x0, y0 = data.draw(st.integers(0, W - 1)), data.draw(st.integers(0, H - 1))
    box = x0, y0, data.draw(st.integers(x0 + 1, W)), data.draw(st.integers(y0 + 1, H))
    scene, context = scene_of(box), data.draw(st.sampled_from([0.25, 0.5, 1.0]))
    picture, used = filled(scene, context)
    near, inside = nearby(scene, scene.box, context)
    hidden = scene.causal()
    assert (picture[~hidden] == scene.image[~hidden]).all()
    if used == "cagan" and near is not scene:
        alone, _ = infill("cagan", CF, near, rng_for(0, 0, ""), Materials(), Options())
        assert np.array_equal(picture[box[1] : box[3], box[0] : box[2]],
                              alone[inside[1] : inside[3], inside[0] : inside[2]])  # fmt: skip


def test_what_lies_far_away_is_not_read():
    scene, other = scene_of((8, 8, 24, 24)), scene_of((8, 8, 24, 24))
    other.image[48:, 48:] = 255 - other.image[48:, 48:]
    assert np.array_equal(filled(scene, 0.5)[0][:48, :48], filled(other, 0.5)[0][:48, :48])
    assert not np.array_equal(filled(scene, 0.0)[0][:48, :48], filled(other, 0.0)[0][:48, :48])


def test_many_together_are_each_alone():
    boxes = [(8, 8, 24, 24), (0, 0, W, H), (40, 20, 60, 36), (48, 8, 64, 24), (0, 60, W, H)]
    scenes, options = [scene_of(box, i) for i, box in enumerate(boxes)], Options(cagan_context=0.5)
    together = cagan_all(scenes, boxes, None, Materials(), options)
    assert [pixels is None for pixels in together] == [False, True, False, False, False]
    for scene, pixels in zip(scenes, together, strict=True):
        if pixels is not None:
            x0, y0, x1, y1 = scene.box
            alone = filled(scene, 0.5)[0][y0:y1, x0:x1].astype(int)
            assert np.abs(pixels - alone).max() <= 1, "batches differ in the last bits"


def test_a_box_that_covers_the_picture_is_grey():
    assert filled(scene_of((0, 0, W, H)), 0.5)[1] == "grey"


def test_a_shard_names_a_context_and_says_nothing_of_none():
    assert Options().stored() == {"cagan_layout": "own"}
    assert Options(cagan_context=0.5).stored() == {"cagan_layout": "own", "cagan_context": 0.5}
    assert read_options({"cagan_context": 1.0}, ("cagan",))["cagan"].cagan_context == 1


def test_a_context_below_nothing_is_refused():
    with pytest.raises(SettingError, match=r"cagan_context = -1\.0: expected a number >= 0"):
        Options(cagan_context=-1.0)


@pytest.mark.parametrize("size", [1, 8, 33])
def test_the_check_takes_every_size(size):
    Options(cagan_context=0.25).check(size, 2)
