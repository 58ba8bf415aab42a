"""Each of the fifteen operations against loops over pixels; boxes that move along; how often what is drawn."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from clp_aug.contract.errors import UsageError
from clp_aug.contract.seeds import rng_for
from clp_train.methods.rand_aug import RandAug
from clp_train.pictures.transforms import rand_augment as module
from clp_train.pictures.transforms.rand_augment import LEVELS, OPERATIONS, Draw, mask_of, rand_augment
from clp_train.pictures.types import Batch
from tests.clp_train.builders import config_of, load, method_of, table_of, train

ORACLES = ("rand-aug",)
WIDTH, HEIGHT = 13, 11
GREY = (128, 128, 128)
MOVING = ("shear-x", "shear-y", "translate-x", "translate-y", "rotate")


def picture_of(seed):
    """Return noise, uint8 (H, W, 3), and a box, bool (H, W)."""
    rng = rng_for(seed, 0, "test rand aug")
    low, high = sorted(rng.integers(0, 256, 2).tolist())
    image = rng.integers(low, high + 1, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    inside = np.zeros((HEIGHT, WIDTH), bool)
    inside[2:8, 3:9] = True
    return image, inside


def operated(name, image, inside, draw):
    pair = OPERATIONS[name]((Image.fromarray(image), mask_of(inside)), draw)
    return np.array(pair[0]), np.array(pair[1]) > 0


def luma(pixel):
    return 0.299 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2]


def blended(image, other, draw):
    """other + factor (image - other), factor 1 +- 0.9 level / 9, cut to [0, 255]."""
    factor = 1 + draw.sign * 0.1 * draw.level
    return np.clip(other + factor * (image.astype(float) - other), 0, 255)


def smooth(image):
    """3 x 3 mean in which the middle weighs 5; the rim stays."""
    out = image.astype(float)
    for y in range(1, HEIGHT - 1):
        for x in range(1, WIDTH - 1):
            window = image[y - 1 : y + 2, x - 1 : x + 2].astype(float).sum((0, 1))
            out[y, x] = np.floor((window + 4.0 * image[y, x]) / 13 + 0.5)
    return out


def stretched(image):
    out = image.astype(float)
    for c in range(3):
        low, high = image[..., c].min(), image[..., c].max()
        if high > low:
            out[..., c] = (image[..., c].astype(float) - low) * 255 / (high - low)
    return out


def equalised(image):
    """Cumulative counts in steps of (n - the last level's count) / 255."""
    out = image.copy()
    for c in range(3):
        counts = [int((image[..., c] == v).sum()) for v in range(256)]
        there = [n for n in counts if n]
        step = (sum(there) - there[-1]) // 255
        if len(there) <= 1 or not step:
            continue
        for y in range(HEIGHT):
            for x in range(WIDTH):
                out[y, x, c] = min((step // 2 + sum(counts[: image[y, x, c]])) // step, 255)
    return out


def painted(image, draw):
    out = image.copy()
    x0, y0 = int(draw.place[0] * WIDTH), int(draw.place[1] * HEIGHT)
    half = max(1, round((round(20 * draw.level / 9) // 2) * WIDTH / 112))
    for y in range(HEIGHT):
        for x in range(WIDTH):
            if x0 - half <= x < x0 + half and y0 - half <= y < y0 + half:
                out[y, x] = (125, 122, 113)
    return out


COLOURS = {
    "invert": lambda image, draw: 255 - image,
    "solarize": lambda image, draw: np.where(image < 256 - 256 * draw.level / 9, image, 255 - image),
    "posterize": lambda image, draw: image // 2 ** (8 - bits(draw)) * 2 ** (8 - bits(draw)),
    "brightness": lambda image, draw: blended(image, np.zeros_like(image, float), draw),
    "contrast": lambda image, draw: blended(
        image,
        np.full(image.shape, math.floor(np.mean([[math.floor(luma(p)) for p in row] for row in image]) + 0.5)),
        draw,
    ),
    "color": lambda image, draw: blended(image, np.array([[[luma(p)] * 3 for p in row] for row in image]), draw),
    "sharpness": lambda image, draw: blended(image, smooth(image), draw),
    "autocontrast": lambda image, draw: stretched(image),
    "equalize": lambda image, draw: equalised(image),
    "cutout": painted,
}
EXACT = ("invert", "solarize", "posterize", "equalize", "cutout")


def bits(draw):
    return [8, 7, 7, 6, 6, 5, 5, 4, 4][draw.level - 1] if draw.level > 1 else 8


@pytest.mark.parametrize("name", COLOURS)
@pytest.mark.parametrize("seed", range(4))
def test_colours_pixel_by_pixel(seed, name):
    image, inside = picture_of(seed)
    for level in range(1, 10):
        for sign in (-1, 1):
            draw = Draw(level, sign, (0.13 * (seed + 1), 0.1 * level))
            found, mask = operated(name, image, inside, draw)
            expected = COLOURS[name](image, draw)
            # a level of rounding within, times a factor of at most 1.9, and one at the end
            assert np.abs(found.astype(float) - expected).max() <= (0 if name in EXACT else 3)
            assert np.array_equal(mask, inside)


def source(name, x, y, draw):
    """Where the middle of a pixel comes from, in pixels."""
    share, u, v = draw.level / 9, x + 0.5, y + 0.5
    if name == "shear-x":
        return u + draw.sign * 0.3 * share * v, v
    if name == "shear-y":
        return u, v + draw.sign * 0.3 * share * u
    if name == "translate-x":
        return u + draw.sign * 150 / 331 * share * WIDTH, v
    if name == "translate-y":
        return u, v + draw.sign * 150 / 331 * share * HEIGHT
    angle, dx, dy = math.radians(30 * share), u - WIDTH / 2, v - HEIGHT / 2
    return (
        WIDTH / 2 + math.cos(angle) * dx - math.sin(angle) * dy,
        HEIGHT / 2 + math.sin(angle) * dx + math.cos(angle) * dy,
    )


def cubic(t):
    """The cubic convolution kernel with slope -1 at 1."""
    t = abs(t)
    if t <= 1:
        return t**3 - 2 * t**2 + 1
    return -(t**3) + 5 * t**2 - 8 * t + 4 if t < 2 else 0.0


def bicubic(image, u, v):
    total, left, top = np.zeros(3), math.floor(u - 0.5), math.floor(v - 0.5)
    for y in range(top - 1, top + 3):
        for x in range(left - 1, left + 3):
            at = min(max(y, 0), HEIGHT - 1), min(max(x, 0), WIDTH - 1)
            total += cubic(u - 0.5 - x) * cubic(v - 0.5 - y) * image[at]
    return np.clip(total, 0, 255)


@pytest.mark.parametrize("name", MOVING)
@pytest.mark.parametrize("seed", range(4))
def test_moves_pixel_by_pixel_and_the_box_with_them(seed, name):
    image, inside = picture_of(seed)
    for level in range(1, 10):
        for sign in (-1, 1):
            draw = Draw(level, sign, (0.0, 0.0))
            found, mask = operated(name, image, inside, draw)
            for y in range(HEIGHT):
                for x in range(WIDTH):
                    u, v = source(name, x, y, draw)
                    near = {  # coordinates are rounded within
                        (math.floor(u + du), math.floor(v + dv)) for du in (-1e-3, 1e-3) for dv in (-1e-3, 1e-3)
                    }
                    there = [(b, a) for a, b in near if 0 <= a < WIDTH and 0 <= b < HEIGHT]
                    nowhere = [False] if len(there) < len(near) else []
                    assert mask[y, x] in [inside[at] for at in there] + nowhere
                    greys = [np.array(GREY)] if nowhere else []
                    if name.startswith("shear"):
                        allowed = [bicubic(image, u, v)] * bool(there) + greys
                        assert min(np.abs(found[y, x] - part).max() for part in allowed) <= 1.01  # cut, not rounded
                    else:
                        allowed = [image[at] for at in there] + greys
                        assert any(np.array_equal(found[y, x], part) for part in allowed)
            if level > 4:
                assert not np.array_equal(mask, inside)


def test_every_operation_is_tested():
    assert set(COLOURS) | set(MOVING) == set(OPERATIONS)
    assert len(OPERATIONS) == 15


def noise_of(seed, n=5):
    images = torch.from_numpy(np.stack([picture_of(seed + i)[0] for i in range(n)])).permute(0, 3, 1, 2)
    inside = torch.from_numpy(np.stack([picture_of(seed + i)[1] for i in range(n)]))
    return images.contiguous(), inside


def test_what_is_drawn_how_often(monkeypatch):
    told = []

    def telling(name):
        return lambda pair, draw: told.append((name, draw)) or pair

    monkeypatch.setattr(module, "OPERATIONS", {name: telling(name) for name in OPERATIONS})
    n = 4000
    images, inside = torch.zeros(n, 3, 4, 4, dtype=torch.uint8), torch.zeros(n, 4, 4, dtype=torch.bool)
    rand_augment(images, inside, rng_for(0, 0, "many"))
    assert abs(len(told) - n) < 5 * math.sqrt(n / 2)  # two draws, each with 1/2
    for values, expected in (
        ([name for name, _ in told], set(OPERATIONS)),
        ([draw.level for _, draw in told], set(range(1, LEVELS + 1))),
        ([draw.sign for _, draw in told], {-1, 1}),
        ([int(4 * draw.place[0]) for _, draw in told], set(range(4))),
        ([int(4 * draw.place[1]) for _, draw in told], set(range(4))),
    ):
        assert set(values) == expected
        even = len(told) / len(expected)
        assert all(abs(values.count(value) - even) < 5 * math.sqrt(even) for value in expected)


def test_two_operations_follow_each_other(monkeypatch):
    """Every draw is a shift to the right by the last level: pictures are shifted never, once, or twice."""

    def right(pair, draw):
        return module.shift(pair, Draw(9, -1, draw.place), 0)

    monkeypatch.setattr(module, "OPERATIONS", {"right": right})
    images, inside = noise_of(0, 40)
    moved, masks = rand_augment(images, inside, rng_for(0, 0, "twice"))
    seen = set()
    for i in range(40):
        image, mask = images[i].permute(1, 2, 0).numpy(), inside[i].numpy()
        steps = [(image, mask)]
        for _ in range(2):
            pair = right((Image.fromarray(image), mask_of(mask)), Draw(9, -1, (0, 0)))
            image, mask = np.array(pair[0]), np.array(pair[1]) > 0
            steps.append((image, mask))
        same = [
            np.array_equal(moved[i].permute(1, 2, 0).numpy(), a) and np.array_equal(masks[i].numpy(), b)
            for a, b in steps
        ]
        assert sum(same) == 1
        seen.add(same.index(True))
    assert seen == {0, 1, 2}


def test_the_method_leaves_all_but_pictures_and_boxes_as_they_are():
    images, inside = noise_of(3, 30)
    label = torch.arange(30) % 3
    batch = Batch(images.float() / 255, inside, label, label, torch.zeros(30, dtype=torch.uint8), torch.arange(30))
    before = batch.images.clone(), batch.inside.clone()
    method = method_of("rand-aug", table_of([0, 0, 1]))
    found, again = (method.mixed(batch, rng_for(1, 2, "mix")) for _ in range(2))
    assert torch.equal(batch.images, before[0])
    assert torch.equal(batch.inside, before[1])
    assert torch.equal(found.images, again.images)
    expected = rand_augment(images, inside, rng_for(1, 2, "mix"))
    assert torch.equal(found.images, expected[0].float() / 255)
    assert torch.equal(found.inside, expected[1])
    same = [torch.equal(a, b) for a, b in zip(found.images, batch.images, strict=True)]
    assert 0 < sum(same) < 20  # a quarter has no operation
    assert found.label is batch.label
    assert found.target is None
    other = method.mixed(batch, rng_for(1, 3, "mix"))
    assert not torch.equal(other.images, found.images)


def test_a_run_learns_from_them_and_is_judged_by_pictures_as_they_are(demo_shard, monkeypatch):
    seen = []
    mixed = RandAug.mixed

    def recording(self, batch, rng):
        found = mixed(self, batch, rng)
        seen.append((batch.images != found.images).flatten(1).any(1))
        return found

    monkeypatch.setattr(RandAug, "mixed", recording)
    config = config_of(meta=demo_shard, method="rand-aug", epochs=2, batch_size=40)
    trained = train(config, load(config))
    assert len(seen) == 4
    assert 0.5 < torch.cat(seen).float().mean() < 0.95
    plain = train(config_of(meta=demo_shard, method="erm", epochs=2, batch_size=40), load(config))
    assert trained.history[0]["train_loss"] != plain.history[0]["train_loss"]


def test_a_frozen_body_is_refused():
    with pytest.raises(UsageError) as error:
        method_of("rand-aug", table_of([0, 1]), trainable="head")
    assert str(error.value) == (
        "trainable = head: method rand-aug changes pictures at every step, but features of a frozen"
        " body are computed once; take trainable = all"
    )
