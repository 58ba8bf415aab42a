"""The short way of usual JPEGs: pixels are those of `Image.open`, and what is unusual goes the long way."""

import io
import random

import numpy as np
import pytest
from PIL import Image

from clp_aug.contract import images
from clp_aug.contract.errors import InputError
from clp_aug.contract.plain_jpeg import decode_plain, plain_size
from tests.clp_aug.contract.pictures import encoded, exif, picture

SIZE = (40, 90)
MOST = 10_000
PLAIN = {
    "usual": {},
    "full colour": {"subsampling": 0},
    "half colour": {"subsampling": 1},
    "restarts": {"restart_marker_blocks": 2},
    "remark": {"comment": b"by hand"},
    "own tables": {"optimize": True},
}
OTHERS = {
    "grey": ("JPEG", "L", {}),
    "cmyk": ("JPEG", "CMYK", {}),
    "progressive": ("JPEG", "RGB", {"progressive": True}),
    "turned": ("JPEG", "RGB", {"exif": exif(6)}),
    "with a tag that turns nothing": ("JPEG", "RGB", {"exif": exif(1)}),
    "png": ("PNG", "RGB", {}),
}


@pytest.mark.parametrize("options", PLAIN.values(), ids=PLAIN)
def test_usual_files_are_decoded_as_pillow_does(options):
    data = encoded(picture("RGB", SIZE), "JPEG", **options)
    opened = Image.open(io.BytesIO(data))
    assert plain_size(data) == opened.size
    np.testing.assert_array_equal(np.asarray(decode_plain(data, MOST)), np.asarray(opened))
    assert decode_plain(data, SIZE[0] * SIZE[1] - 1) is None, "more pixels than are wanted"


@pytest.mark.parametrize(("kind", "mode", "options"), OTHERS.values(), ids=OTHERS)
def test_unusual_files_go_the_long_way(kind, mode, options):
    data = encoded(picture(mode, SIZE), kind, **options)
    assert plain_size(data) is None
    assert decode_plain(data, MOST) is None


def outcome(read, data):
    try:
        return np.asarray(read(data, "x")).tolist()
    except InputError as error:
        return str(error)


@pytest.mark.parametrize("options", PLAIN.values(), ids=PLAIN)
def test_damaged_files_are_told_as_the_long_way_tells_them(options, monkeypatch):
    data = encoded(picture("RGB", SIZE), "JPEG", **options)
    files = [data[:at] for at in range(0, len(data), 23)]
    for seed in range(150):
        generator, damaged = random.Random(seed), bytearray(data)
        for _ in range(generator.choice((1, 2, 5))):
            at = generator.randrange(len(data) if seed % 2 else 700)
            damaged[at] = generator.choice((0, 1, 0x7F, 0xC4, 0xD9, 0xDB, 0xE1, 0xFF))
        files.append(bytes(damaged))
    short = [[outcome(read, file) for read in (images.read_rgb, images.read_size)] for file in files]
    monkeypatch.setattr(images, "decode_plain", lambda data, most: None)
    monkeypatch.setattr(images, "plain_size", lambda data: None)
    assert short == [[outcome(read, file) for read in (images.read_rgb, images.read_size)] for file in files]


@pytest.mark.parametrize("error", [ValueError("x"), MemoryError(), RuntimeError("y")])
def test_what_the_short_way_refuses_goes_the_long_way(monkeypatch, error):
    data = encoded(picture("RGB", SIZE), "JPEG")
    expected = images.read_rgb(data, "x")

    def refuse(*_):
        raise error

    monkeypatch.setattr(Image, "frombytes", refuse)
    np.testing.assert_array_equal(images.read_rgb(data, "x"), expected)
