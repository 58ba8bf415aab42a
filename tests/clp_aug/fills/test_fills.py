"""One row a fill in the table; properties that hold for all of them; then each fill's own numbers."""

import cv2
import numpy as np
import pytest

from clp_aug.common.settings import fields_of
from clp_aug.contract import boxes
from clp_aug.contract.errors import UsageError
from clp_aug.contract.seeds import rng_for
from clp_aug.fills import CF, FILLS, F, check_fill, infill
from clp_aug.fills.random import noise_table
from clp_aug.fills.scene import Materials, Scene, compose, crop
from clp_aug.fills.shuffle import permute
from tests.oracles.rectangles import compose as slow_compose


def scene_of(seed, height=12, width=15, box=None, label=0):
    rng = np.random.default_rng(seed)
    if box is None:
        x0, y0 = rng.integers(width), rng.integers(height)
        box = (x0, y0, rng.integers(x0 + 1, width + 1), rng.integers(y0 + 1, height + 1))
    return Scene(rng.integers(0, 256, (height, width, 3), np.uint8), tuple(map(int, box)), label)


def with_partners(*partners):
    return Materials(partners=lambda label, rng: iter(partners))


MATERIALS = with_partners(scene_of(999, 12, 15, (1, 5, 6, 9), 1))
ROWS = [  # every fill that runs without a file of the user's, in every kind it serves
    pytest.param(name, kind, id=f"{name}-{'cf' if kind == CF else 'f'}")
    for name, fill in FILLS.items()
    for kind in fill.kinds
    if not any(field.metadata.get("missing") for field in fields_of(fill.options_class()).values())
]


def test_the_registry_serves_what_the_paper_names():
    assert {name for name, fill in FILLS.items() if CF in fill.kinds} >= {"grey", "random", "shuffle", "tile", "cagan"}
    assert {name for name, fill in FILLS.items() if F in fill.kinds} >= {"random", "shuffle", "mix-rand", "fgsm"}
    assert all(fill.summary for fill in FILLS.values())


@pytest.mark.parametrize(("name", "kind"), ROWS)
@pytest.mark.parametrize("seed", range(25))
def test_only_the_hole_changes_and_the_key_decides(name, kind, seed):
    scene = scene_of(seed)
    original = scene.image.copy()
    filled, used = infill(name, kind, scene, rng_for(0, seed, name), MATERIALS)
    again, _ = infill(name, kind, scene, rng_for(0, seed, name), MATERIALS)
    assert filled.shape == scene.image.shape
    assert filled.dtype == np.uint8
    assert used in (name, "grey")
    assert (scene.image == original).all(), "a fill must not write into the picture it was given"
    assert (filled == again).all()
    if not FILLS[name].everywhere:
        kept = ~scene.causal() if kind == CF else scene.causal()
        assert (filled[kept] == scene.image[kept]).all()


@pytest.mark.parametrize(("name", "kind"), ROWS)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 5), (5, 1), (4, 5)])
def test_every_box_of_a_small_picture(name, kind, height, width):
    for x0 in range(width):
        for y0 in range(height):
            for x1 in range(x0 + 1, width + 1):
                for y1 in range(y0 + 1, height + 1):
                    scene = scene_of(3, height, width, (x0, y0, x1, y1))
                    filled, _ = infill(name, kind, scene, rng_for(0, 0, name), MATERIALS)
                    if not FILLS[name].everywhere:
                        kept = ~scene.causal() if kind == CF else scene.causal()
                        assert (filled[kept] == scene.image[kept]).all()


def test_compose_is_eq_2_and_eq_4():
    for seed in range(20):
        scene, infilling = scene_of(seed), scene_of(seed + 100).image
        filled = compose(scene, CF, crop(infilling, scene.box))
        assert (filled == slow_compose(scene.image, scene.causal(), infilling)).all()
        assert (compose(scene, F, infilling) == slow_compose(scene.image, ~scene.causal(), infilling)).all()


def test_grey_is_half():
    scene = scene_of(1)
    filled, _ = infill("grey", CF, scene, rng_for(0, 0, ""), MATERIALS)
    assert (filled[scene.causal()] == 128).all()


@pytest.mark.parametrize("kind", [CF, F])
def test_shuffle_keeps_the_multiset_of_pixels(kind):
    for seed in range(20):
        scene = scene_of(seed)
        filled, _ = infill("shuffle", kind, scene, rng_for(0, seed, "s"), MATERIALS)
        hole = scene.causal() if kind == CF else ~scene.causal()
        assert sorted(map(tuple, filled[hole].tolist())) == sorted(map(tuple, scene.image[hole].tolist()))
    large = scene_of(0, 40, 40, (0, 0, 40, 39))
    filled, _ = infill("shuffle", CF, large, rng_for(0, 0, "s"), MATERIALS)
    assert (filled != large.image).any()


def test_shuffle_is_uniform_over_positions():
    pixels = np.arange(6, dtype=np.uint64)
    orders = np.array([permute(pixels, rng_for(seed, 0, "s")) for seed in range(3000)])
    counts = np.array([np.bincount(orders[:, i].astype(int), minlength=6) for i in range(6)])
    assert abs(counts - 500).max() < 5 * np.sqrt(500 * 5 / 6), "each pixel lands on each place equally often"
    assert (np.sort(orders, 1) == pixels).all()


def test_random_is_one_colour_plus_noise_of_sigma_02():
    scene = scene_of(0, 200, 200, (0, 0, 200, 199))
    spreads, centres = [], []
    for seed in range(40):
        values = infill("random", CF, scene, rng_for(seed, 0, "r"), MATERIALS)[0][scene.causal()].astype(float)
        centre = values.mean(0)
        centres.append(centre)
        spreads += [values[:, c].std() for c in range(3) if 115 < centre[c] < 140]  # where clipping hardly bites
    assert np.mean(spreads) == pytest.approx(0.2 * 255, rel=0.05)
    assert np.std(centres) > 30, "the colour differs from picture to picture"


def test_tile_repeats_the_largest_strip_from_the_origin():
    image = np.zeros((6, 8, 3), np.uint8)
    image[:2] = np.arange(16, dtype=np.uint8).reshape(2, 8, 1) + 1
    scene = Scene(image, (3, 2, 8, 6), 0)  # strips: top 2 x 8 = 16, left 3 x 6 = 18
    image[:, :3] = np.arange(18, dtype=np.uint8).reshape(6, 3, 1) + 100
    filled, used = infill("tile", CF, scene, rng_for(0, 0, ""), MATERIALS)
    assert used == "tile"
    for y in range(2, 6):
        for x in range(3, 8):
            assert (filled[y, x] == image[y, x % 3]).all()


@pytest.mark.parametrize(
    "box", [(0, 0, 20, 20), (0, 0, 20, 19), (1, 0, 20, 20)], ids=["whole", "thin row", "thin column"]
)
def test_no_background_becomes_grey_and_says_so(box):
    scene = scene_of(0, 20, 20, box)
    filled, used = infill("tile", CF, scene, rng_for(0, 0, ""), MATERIALS)
    assert used == "grey"
    assert (filled[scene.causal()] == 128).all()


def test_mix_rand_takes_the_background_of_the_other_class_only():
    partner = Scene(np.full((10, 10, 3), 7, np.uint8), (0, 0, 10, 5), 1)
    partner.image[:5] = 200  # its object
    covered = Scene(np.full((10, 10, 3), 99, np.uint8), (0, 0, 10, 10), 1)
    scene = scene_of(0, 10, 10, (3, 3, 6, 6))
    filled, used = infill("mix-rand", F, scene, rng_for(0, 0, ""), with_partners(covered, partner))
    assert used == "mix-rand"
    assert (filled[~scene.causal()] == 7).all(), "the covered partner is passed over, objects are never used"
    assert (filled[scene.causal()] == scene.image[scene.causal()]).all()
    assert infill("mix-rand", F, scene, rng_for(0, 0, ""), with_partners())[1] == "grey"


def test_recolour_keeps_brightness_and_turns_hue():
    scene = scene_of(5, 30, 30)
    filled, _ = infill("recolour", F, scene, rng_for(0, 1, ""), MATERIALS)
    assert abs(filled.max(2).astype(int) - scene.image.max(2)).max() <= 1  # V of HSV
    assert (filled != scene.image).mean() > 0.5
    before, after = (cv2.cvtColor(x, cv2.COLOR_RGB2HSV)[..., 0].astype(int) for x in (scene.image, filled))
    assert len(np.unique((after - before) % 180)) < 40, "all hues turn by about the same angle"


def test_keep_colour_puts_the_other_object_in_the_own_colours():
    scene = scene_of(1, 40, 40, (5, 5, 25, 30))
    scene.image[5:30, 5:25] = np.clip(np.random.default_rng(0).normal((200, 40, 90), 15, (25, 20, 3)), 0, 255)
    partner = scene_of(2, 40, 40, (0, 10, 30, 40), 1)
    filled, _ = infill("keep-colour", CF, scene, rng_for(0, 0, ""), with_partners(partner))
    inside, own = filled[scene.causal()].astype(float), scene.image[scene.causal()].astype(float)
    assert abs(inside.mean(0) - own.mean(0)).max() < 3
    assert abs(inside.std(0) - own.std(0)).max() < 3
    body = cv2.resize(partner.image[10:40, 0:30], (20, 25), interpolation=cv2.INTER_AREA)
    inside, body = inside.reshape(25, 20, 3), body.astype(float)
    assert np.corrcoef(inside[..., 0].ravel(), body[..., 0].ravel())[0, 1] > 0.95, "its structure is the partner's"


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("gray", CF, r"unknown fill 'gray': did you mean grey\? choose one of .*cagan, fgsm, grey"),
        ("tile", F, r"fill 'tile' does not serve --f: choose one of .*fgsm, mix-rand, random"),
    ],
)
def test_refused_at_the_door(name, kind, message):
    with pytest.raises(UsageError, match=message):
        check_fill(name, kind)


def test_boxes_helper_agrees_with_the_scene():
    scene = scene_of(8)
    assert scene.causal().sum() == boxes.area(np.array(scene.box))


def test_the_noise_is_that_of_the_normal_distribution():
    ndtri = pytest.importorskip("scipy.special").ndtri
    levels = (np.arange(1 << 16) + 0.5) / (1 << 16)
    np.testing.assert_array_equal(noise_table(), (ndtri(levels) * 0.2 * 255).round().astype(np.int16))


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("kind", [CF, F])
def test_random_draws_its_colour_then_two_bytes_a_value(seed, kind):
    scene = scene_of(seed)
    window, rng = scene.window(kind), rng_for(0, seed, "x")
    shape = crop(scene.image, window).shape
    colour = rng.integers(0, 256, 3, np.int16)
    drawn = np.frombuffer(rng.bytes(2 * int(np.prod(shape))), "<u2").reshape(shape)
    expected = np.clip(noise_table()[drawn] + colour, 0, 255)
    found = FILLS["random"].load()(scene, window, rng_for(0, seed, "x"), MATERIALS)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)
