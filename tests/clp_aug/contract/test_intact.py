"""A picture file that can be read, told from one that cannot: as reading it tells, with less work."""

import random
import struct

import numpy as np
import pytest

from clp_aug.contract import intact
from clp_aug.contract.errors import InputError
from clp_aug.contract.images import read_rgb
from clp_aug.contract.intact import FIRST_ROWS, check_picture, first_rows_of_jpeg, first_rows_of_png
from tests.clp_aug.contract.pictures import encoded, exif, picture, with_chunk

TALL = (40, 90)
SHORTENED = {
    "jpeg": ("JPEG", "RGB", {}),
    "grey jpeg": ("JPEG", "L", {}),
    "jpeg in full colour": ("JPEG", "RGB", {"subsampling": 0}),
    "cmyk jpeg": ("JPEG", "CMYK", {}),
    "turned jpeg": ("JPEG", "RGB", {"exif": exif(6)}),
    "progressive jpeg": ("JPEG", "RGB", {"progressive": True}),
    "grey progressive jpeg": ("JPEG", "L", {"progressive": True}),
    "jpeg with restarts": ("JPEG", "RGB", {"restart_marker_blocks": 2}),
    "png": ("PNG", "RGB", {}),
    "palette png": ("PNG", "P", {}),
}
DECODED = {
    "two jpegs": ("MPO", "RGB", {"save_all": True, "append_images": [picture()]}),
    "moving png": ("PNG", "RGB", {"save_all": True, "append_images": [picture(size=TALL, seed=1)]}),
    "webp": ("WEBP", "RGB", {}),
    "gif": ("GIF", "L", {}),
    "tiff": ("TIFF", "RGB", {}),
}


def file_of(kind, mode, options):
    return encoded(picture(mode, TALL), kind, **options)


def first_rows(data):
    return first_rows_of_jpeg(data) or first_rows_of_png(data)


def verdict(read, data):
    """The message, "" for a picture that can be read."""
    try:
        read(data, "x")
    except InputError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(("kind", "mode", "options"), SHORTENED.values(), ids=SHORTENED)
def test_a_whole_file_is_decoded_to_its_first_rows(kind, mode, options):
    data = file_of(kind, mode, options)
    rows, whole = read_rgb(first_rows(data), "x"), read_rgb(data, "x")
    assert FIRST_ROWS in rows.shape[:2]
    if "exif" not in options:
        above = FIRST_ROWS - 1  # the last row of a JPEG's colours knows of the next
        np.testing.assert_array_equal(rows[:above], whole[:above])
    check_picture(data, "x")


@pytest.mark.parametrize(("kind", "mode", "options"), DECODED.values(), ids=DECODED)
def test_all_others_are_decoded_whole(kind, mode, options):
    data = file_of(kind, mode, options)
    assert kind == "MPO" or first_rows(data) is None
    check_picture(data, "x")
    assert verdict(check_picture, data[: len(data) // 2]) == verdict(read_rgb, data[: len(data) // 2]) != ""


@pytest.mark.parametrize(("kind", "mode", "options"), SHORTENED.values(), ids=SHORTENED)
def test_a_file_cut_anywhere_is_told_as_reading_tells_it(kind, mode, options):
    data = file_of(kind, mode, options)
    for at in (*range(0, 700, 11), len(data) // 2, *range(len(data) - 20, len(data))):
        assert verdict(check_picture, data[:at]) == verdict(read_rgb, data[:at]), at


@pytest.mark.parametrize(("kind", "mode", "options"), SHORTENED.values(), ids=SHORTENED)
def test_a_damaged_file_is_told_as_reading_tells_it(kind, mode, options):
    data = file_of(kind, mode, options)
    for seed in range(100):
        generator, damaged = random.Random(seed), bytearray(data)
        for _ in range(generator.choice((1, 2, 20))):
            at = generator.randrange(len(data) if seed % 2 else 700)
            damaged[at] = generator.choice((0, 1, 0x7F, 0xD9, 0xFF))
        told = [bool(verdict(read, bytes(damaged))) for read in (check_picture, read_rgb)]
        assert told[0] == told[1], seed


@pytest.mark.parametrize(("side", "pixels"), [(16, 70_000), (20, 65_501)])
def test_sides_that_no_picture_has_are_not_vouched_for(side, pixels):
    """16: of a PNG's width, its height at 20; of a JPEG both stand in its frame."""
    jpeg, png = bytearray(file_of(*SHORTENED["jpeg"])), bytearray(file_of(*SHORTENED["png"]))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 7] = struct.pack(">H", min(pixels, 65_535))
    png[side : side + 4] = struct.pack(">I", pixels * 1000)
    for data in (bytes(jpeg), bytes(png)):
        assert verdict(check_picture, data) == verdict(read_rgb, data) != ""


def test_a_large_text_hides_no_damage():
    good = with_chunk(file_of(*SHORTENED["png"]), b"iCCP", b"a\0\7")
    check_picture(good, "x")
    assert verdict(check_picture, good[:-30]) == verdict(read_rgb, good[:-30])


def test_the_first_rows_alone_are_decoded(monkeypatch):
    decoded = []
    monkeypatch.setattr(intact, "open_picture", lambda data, where: decoded.append(len(data)) or picture())
    data = encoded(picture(size=(700, 900)), "JPEG")
    check_picture(data, "x")
    assert decoded[0] < 9_500 < len(data)
