"""find_boxes, fill and open_shard: what clp-augment does to pictures, on arrays."""

import numpy as np
import pytest

from clp_aug import fill, find_boxes, infill, load_dataset, open_shard, rng_for
from clp_aug.contract.errors import InputError, UsageError
from clp_aug.contract.schema import COUNTERFACTUAL, FACTUAL
from clp_aug.fills import FILLS
from clp_aug.fills.scene import Materials, Scene
from tests.clp_train.builders import make_demo_shard

SIDE = 32
BOX = (8, 8, 24, 24)
PLAIN = sorted(FILLS.keys() - {"fgsm", "lama", "cagan"})
"""Fills without a network."""


@pytest.fixture(scope="module")
def demo():
    """Pictures, masks and boxes of the demo set."""
    data = load_dataset("demo")
    images = [data.image(i, SIDE) for i in range(4)]
    masks = [data.alpha(i, SIDE) for i in range(4)]
    return images, masks


def test_boxes_are_those_of_the_masks(demo):
    images, masks = demo
    boxes, outcomes = find_boxes(np.stack(images), "given", masks=masks)
    assert (boxes.dtype, boxes.shape, outcomes) == (np.int32, (4, 4), ["ok"] * 4)
    for (x0, y0, x1, y1), mask in zip(boxes, masks, strict=True):
        inside = mask[y0:y1, x0:x1]
        assert (mask > 0.5).sum() == (inside > 0.5).sum()
        assert min((inside > 0.5).any(0).min(), (inside > 0.5).any(1).min()), "it is tight"
    padded, _ = find_boxes(images, "given", masks=masks, pad=2)
    assert ((padded[:, :2] <= boxes[:, :2]) & (padded[:, 2:] >= boxes[:, 2:])).all()


@pytest.mark.parametrize("matte", ["grabcut", "centre", "hatt"])
def test_mattes_find_a_box_in_every_picture(demo, matte):
    boxes, outcomes = find_boxes(demo[0][:2], matte)
    assert ((boxes[:, :2] >= 0) & (boxes[:, :2] < boxes[:, 2:]) & (boxes[:, 2:] <= SIDE)).all()
    assert len(outcomes) == 2


def test_a_picture_without_a_mask_falls_back(demo):
    assert find_boxes(demo[0][:1], "given")[1] == ["fallback"]
    assert find_boxes([])[0].shape == (0, 4)


@pytest.mark.parametrize("name", PLAIN)
def test_a_fill_keeps_what_it_does_not_fill(demo, name):
    image, others = demo[0][0], [(demo[0][3], BOX)] if FILLS[name].partner else []
    for kind in FILLS[name].kinds:
        spelt = {COUNTERFACTUAL: "counterfactual", FACTUAL: "factual"}[kind]
        filled = fill(image, BOX, name, 3, kind=spelt, others=others)
        assert (filled.dtype, filled.shape) == (np.uint8, image.shape)
        assert np.array_equal(filled, fill(image, np.array(BOX), name, 3, kind=spelt, others=others)), "by the seed"
        if FILLS[name].everywhere:
            continue
        x0, y0, x1, y1 = BOX
        inside = np.zeros(image.shape[:2], bool)
        inside[y0:y1, x0:x1] = True
        kept = ~inside if kind == COUNTERFACTUAL else inside
        assert np.array_equal(filled[kept], image[kept])
        assert (filled != image).any()


def test_a_fill_is_that_of_the_shards(demo):
    scene, rng = Scene(demo[0][0], BOX, 0), rng_for(5, 0, "random")
    expected, _ = infill("random", FACTUAL, scene, rng, Materials())
    assert np.array_equal(fill(demo[0][0], BOX, "random", 5, kind="factual"), expected)
    assert np.array_equal(fill(demo[0][0], (0, 0, SIDE, SIDE), "tile"), np.full_like(demo[0][0], 128)), "no background"


ROWS = [
    (
        lambda image: fill(image / 255, BOX, "grey"),
        InputError,
        r"float64 \(32, 32, 3\); expected uint8 \(H, W, 3\)",
    ),
    (lambda image: fill("a.png", BOX, "grey"), InputError, r"picture: str; expected uint8"),
    (lambda image: fill(image, (8, 8, 40, 24), "grey"), InputError, r"\(8, 8, 40, 24\): it is not inside 32 x 32"),
    (lambda image: fill(image, (8, 8, 24), "grey"), InputError, r"expected x0, y0, x1, y1, whole pixels"),
    (lambda image: fill(image, (8, 8, 24, 23.5), "grey"), InputError, r"expected x0, y0, x1, y1, whole pixels"),
    (lambda image: fill(image, BOX, "gray"), UsageError, r"unknown fill 'gray': did you mean grey\?"),
    (lambda image: fill(image, BOX, "grey", kind="fact"), UsageError, r"unknown kind 'fact'"),
    (lambda image: fill(image, BOX, "grey", kind="factual"), UsageError, r"fill 'grey' does not serve --f"),
    (lambda image: fill(image, BOX, "mix-rand"), InputError, r"mix-rand: it needs pictures of other classes"),
    (lambda image: fill(image, BOX, "fgsm"), UsageError, r"fill 'fgsm' attacks a classifier: give one"),
    (
        lambda image: fill(image, BOX, "grey", settings={"epsilom": 1}),
        UsageError,
        r"unknown setting of a fill 'eps",
    ),
    (lambda image: find_boxes([image[:20]]), InputError, r"uint8 \(20, 32, 3\); expected uint8 \(S, S, 3\) RGB"),
    (lambda image: find_boxes([image], "grabcat"), UsageError, r"unknown matte 'grabcat': did you mean grabcut\?"),
    (
        lambda image: find_boxes([image], "given", masks=[image[..., 0]]),
        InputError,
        r"mask: \(32, 32\), .* in \[0, ",
    ),
]


@pytest.mark.parametrize(("do", "error", "message"), ROWS)
def test_what_cannot_be_is_one_line(demo, do, error, message):
    with pytest.raises(error, match=message) as caught:
        do(demo[0][0])
    assert "\n" not in str(caught.value)


def test_a_shard_is_opened(tmp_path):
    path = make_demo_shard(tmp_path / "x.h5", size=16, per_group=1, train=8)
    assert open_shard(path).header.dataset == "demo"
    with pytest.raises(InputError, match="no such file"):
        open_shard(tmp_path / "none.h5")


def test_auto_is_a_device_here_as_on_the_command_line(demo):
    images, _ = demo
    assert np.array_equal(find_boxes(images, "hatt", device="auto")[0], find_boxes(images, "hatt")[0])
    assert np.array_equal(fill(images[0], BOX, "cagan", device="auto"), fill(images[0], BOX, "cagan"))
