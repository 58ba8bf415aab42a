"""READ pictures whose tags, texts and transparency are odd, damaged or enormous, and pictures of rarer kinds."""

import contextlib
import io
import random
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin

from clp_aug.contract import images
from clp_aug.contract.errors import InputError
from clp_aug.contract.images import FORMATS, SUFFIXES, open_picture, read_alpha, read_rgb, read_size
from tests.clp_aug.contract.pictures import encoded, exif, picture, with_chunk

WITH_EXIF = ("JPEG", "PNG", "WEBP")
ODD_TAGS = {
    "GPSVersionID as text": {"gps": [(0, 2, 5, b"2.2.0\0\0\0")]},
    "GPSVersionID as shorts": {"gps": [(0, 3, 4, b"\0\2\0\2\0\0\0\0")]},
    "text as numbers": {"more": [(0x010F, 5, 1, b"\0\0\0\1\0\0\0\1")]},
    "numbers as text": {"more": [(0x0100, 2, 6, b"wide \0")]},
    "too many values": {"more": [(0x0128, 3, 3, b"\0\1\0\2\0\3")]},
    "0/0": {"more": [(0x011A, 5, 1, bytes(8))]},
    "a value behind the end": {"more": [(0x0132, 2, 1 << 30, b"\x7f\xff\xff\xff")]},
    "an unknown type": {"more": [(0x927C, 77, 9, bytes(9))]},
    "a maker's note": {"more": [(0x927C, 7, 30, bytes(range(30)))]},
    "a float where an offset belongs": {"more": [(0x8769, 11, 1, b"\x7f\xc0\0\0")]},
    "a directory that is itself": {"more": [(0x8769, 4, 1, b"\0\0\0\x08")]},
}
XMP = '<x:xmpmeta><rdf:Description tiff:Orientation="{}"/></x:xmpmeta>'


def pixels(mode, orientation, kind="PNG"):
    """A picture turned by its tag, as bytes, and as Pillow itself turns it."""
    data = encoded(picture(mode), kind, exif=exif(orientation))
    return data, ImageOps.exif_transpose(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize("orientation", range(10))  # 0 and 9 are none
@pytest.mark.parametrize(
    ("kind", "mode"),
    [("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "P"), ("PNG", "1"),
     ("PNG", "LA"), ("WEBP", "RGB"), ("WEBP", "RGBA")],
)  # fmt: skip
def test_orientation_turns_as_pillow_does(kind, mode, orientation):
    data, expected = pixels(mode, orientation, kind)
    upright = open_picture(data, "x")
    assert (upright.mode, upright.size, upright.tobytes()) == (expected.mode, expected.size, expected.tobytes())
    assert read_size(data, "x") == expected.size


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_orientation_in_xmp_turns_as_pillow_does(kind, orientation):
    text = XMP.format(orientation)
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", text)
    data = encoded(picture(), kind, **({"pnginfo": info} if kind == "PNG" else {"xmp": text.encode()}))
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert open_picture(data, "x").tobytes() == expected.tobytes()
    assert read_size(data, "x") == expected.size


@pytest.mark.parametrize("tags", ODD_TAGS.values(), ids=ODD_TAGS)
@pytest.mark.parametrize("order", [">", "<"])
@pytest.mark.parametrize("kind", WITH_EXIF)
def test_odd_tags_end_no_reading_and_the_orientation_counts(kind, order, tags):
    plain = encoded(picture(), kind, exif=exif(6))
    odd = encoded(picture(), kind, exif=exif(6, order=order, **tags))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # none reaches the user, who could not tell of which picture it is
        turned = read_rgb(odd, "x")
        assert read_size(odd, "x") == (20, 30)
        assert read_alpha(odd, "x").shape == (30, 20)
    np.testing.assert_array_equal(turned, read_rgb(plain, "x"))


@pytest.mark.parametrize("broken", [b"Exif\0\0", b"Exif\0\0MM", b"Exif\0\0nonsense", exif(6)[:20], b"Exif\0\0" * 3])
@pytest.mark.parametrize("kind", WITH_EXIF)
def test_tags_that_cannot_be_read_turn_nothing(kind, broken):
    data = encoded(picture(), kind, exif=broken)
    np.testing.assert_array_equal(read_rgb(data, "x"), read_rgb(encoded(picture(), kind), "x"))
    assert read_size(data, "x") == (30, 20)


LARGE = zlib.compress(b"x" * 2_000_000)
BESIDE = {
    "text": (b"tEXt", b"parameters\0" + b"x" * 2_000_000),
    "packed text": (b"zTXt", b"parameters\0\0" + LARGE),
    "international text": (b"iTXt", b"workflow\0\1\0\0\0" + LARGE),
    "profile": (b"iCCP", b"sRGB\0\0" + LARGE),
    "profile packed in an unknown way": (b"iCCP", b"sRGB\0\7"),
    "colours cut short": (b"cHRM", b"\0"),
    "gamma cut short": (b"gAMA", b""),
    "resolution cut short": (b"pHYs", b"\0"),
    "transparency cut short": (b"tRNS", b"\0"),
}


@pytest.mark.parametrize(("kind", "content"), BESIDE.values(), ids=BESIDE)
@pytest.mark.parametrize("before", [b"IDAT", b"IEND"])
def test_what_a_png_says_beside_its_pixels_does_not_matter(kind, content, before, monkeypatch):
    monkeypatch.setattr(PngImagePlugin, "MAX_TEXT_MEMORY", 1 << 20)  # 64 MiB, as it is, take seconds
    plain = encoded(picture(), exif=exif(8))
    odd = with_chunk(plain, kind, content, before)
    np.testing.assert_array_equal(read_rgb(odd, "x"), read_rgb(plain, "x"))
    np.testing.assert_array_equal(read_alpha(odd, "x"), read_alpha(plain, "x"))
    assert read_size(odd, "x") == (20, 30)


def test_of_two_tags_the_last_counts_for_pixels_and_size():
    data = with_chunk(encoded(picture(), exif=exif(6)), b"eXIf", exif(3)[6:], b"IEND")
    assert read_size(data, "x") == read_rgb(data, "x").shape[1::-1] == (30, 20)


def test_a_text_whose_checksum_is_wrong_does_not_matter_but_that_of_the_palette_does():
    plain = encoded(picture("P"))
    odd = bytearray(with_chunk(plain, b"tEXt", b"a\0b"))
    odd[odd.index(b"tEXt") + 5] ^= 1
    np.testing.assert_array_equal(read_rgb(bytes(odd), "x"), read_rgb(plain, "x"))
    odd[odd.index(b"PLTE") + 5] ^= 1
    with pytest.raises(InputError, match=r"^picture x: not a JPEG, PNG"):
        read_rgb(bytes(odd), "x")


@pytest.mark.parametrize("entries", [257, 300, 70_000])
def test_transparency_of_more_colours_than_a_palette_has_is_passed_over(entries):
    plain = encoded(picture("P"))
    odd = with_chunk(plain, b"tRNS", bytes([255, 0, 128] * entries)[:entries])
    np.testing.assert_array_equal(read_rgb(odd, "x"), read_rgb(plain, "x"))
    np.testing.assert_array_equal(read_alpha(odd, "x"), read_alpha(plain, "x"))
    fits = read_rgb(with_chunk(plain, b"tRNS", bytes([255, 0] * 128)), "x")
    assert (fits != read_rgb(plain, "x")).any(), "as many as there may be count"


FIRST, SECOND = picture("L"), picture("L", seed=1)
KINDS = {
    "gif": ("GIF", FIRST, {}),
    "moving gif": ("GIF", FIRST, {"save_all": True, "append_images": [SECOND]}),
    "tiff": ("TIFF", FIRST, {}),
    "tiff of pages": ("TIFF", FIRST, {"save_all": True, "append_images": [SECOND]}),
    "packed tiff": ("TIFF", FIRST, {"compression": "tiff_lzw"}),
    "big tiff": ("TIFF", FIRST, {"big_tiff": True}),
    "moving png": ("PNG", FIRST, {"save_all": True, "append_images": [SECOND]}),
    "moving webp": ("WEBP", FIRST, {"save_all": True, "append_images": [SECOND], "lossless": True}),
    "ppm": ("PPM", FIRST.convert("RGB"), {}),
    "pgm": ("PPM", FIRST, {}),
    "bmp": ("BMP", FIRST, {}),
}


@pytest.mark.parametrize(("kind", "image", "options"), KINDS.values(), ids=KINDS)
def test_of_several_frames_the_first_is_read(kind, image, options):
    data = encoded(image, kind, **options)
    np.testing.assert_array_equal(read_rgb(data, "x"), np.asarray(FIRST.convert("RGB")))
    assert read_size(data, "x") == FIRST.size
    np.testing.assert_allclose(read_alpha(data, "x"), np.asarray(FIRST) / np.float32(255), atol=1e-6)


@pytest.mark.skipif("AVIF" not in images.formats(), reason="this Pillow has no AVIF")
def test_avif_is_read():
    flat = Image.new("RGB", (16, 16), (200, 40, 90))
    data = encoded(flat, "AVIF", exif=exif(6), speed=10)
    assert np.abs(read_rgb(data, "x").astype(int) - (200, 40, 90)).max() < 12
    for read in (read_rgb, read_alpha, read_size):
        with pytest.raises(
            InputError, match=r"^picture x: broken file \(Failed to decode .*; replace it or remove it$"
        ):
            read(data.replace(b"av01", b"av02"), "x")


def test_without_avif_another_kind_is_told_by_name(monkeypatch):
    monkeypatch.setattr(images, "formats", lambda: tuple(name for name in FORMATS if name != "AVIF"))
    with pytest.raises(InputError, match=r"^picture x: not a JPEG, PNG, WEBP, BMP, GIF, TIFF, PPM file; convert it"):
        read_rgb(b"hello, this is none of them", "x")
    assert {".jfif", ".jpe", ".tif", ".tiff", ".gif", ".avif", ".jpg", ".jpeg", ".png", ".webp", ".bmp"} < set(SUFFIXES)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_a_turned_tiff_is_upright_once(orientation, compression):
    data = encoded(picture(), "TIFF", tiffinfo={0x0112: orientation}, compression=compression)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(encoded(picture(), "PNG", exif=exif(orientation)))))
    np.testing.assert_array_equal(read_rgb(data, "x"), np.asarray(expected))
    assert read_size(data, "x") == expected.size


def test_grey_levels_of_more_than_16_bits_are_refused():
    for levels, told in ([-1, 0], r"-1\.\.0"), ([0, 65_536], r"0\.\.65536"):
        data = encoded(Image.fromarray(np.array([levels], np.int32)), "TIFF")
        for read in (read_rgb, read_alpha):
            with pytest.raises(
                InputError, match=rf"^picture x: grey levels {told}, expected 0\.\.65535; save it as 8-b"
            ):
                read(data, "x")


def test_floating_point_is_refused_also_of_masks():
    data = encoded(Image.fromarray(np.array([[0, 0.5]], np.float32)), "TIFF")
    for read in (read_rgb, read_alpha):
        with pytest.raises(InputError, match=r"^picture x: colour mode F is not supported; save it as 8-bit RGB$"):
            read(data, "x")


def damaged(data, seed):
    """A file with some bytes changed, most of them where it begins, or cut, or with a part of it doubled."""
    generator, data = random.Random(seed), bytearray(data)
    for _ in range(generator.choice((1, 3, 20))):
        at = generator.randrange(len(data) if generator.random() < 0.3 else min(len(data), 300))
        data[at] = generator.choice((0, 1, 2, 0x7F, 0x80, 0xFF, generator.randrange(256)))
    i, j = sorted(generator.randrange(len(data)) for _ in range(2))
    return bytes(generator.choice((data, data, data[:i], data[:i] + data[j:], data[:j] + data[i:])))


@pytest.mark.parametrize(("kind", "image", "options"), [*KINDS.values(), ("JPEG", FIRST, {}), ("AVIF", FIRST, {})])
def test_any_damage_is_told_in_one_line_or_harmless(kind, image, options):
    if kind == "AVIF" and kind not in images.formats():
        pytest.skip("this Pillow has no AVIF")
    whole = encoded(image, kind, **options)
    for seed in range(60):
        data = damaged(whole, seed)
        for read in (read_rgb, read_alpha, read_size):
            with contextlib.suppress(InputError):
                result = read(data, "x")
                if read is not read_size:
                    assert result.shape[1::-1] == read_size(data, "x")


@pytest.mark.parametrize("error", [KeyError("x"), RuntimeError("two\nlines"), ZeroDivisionError(), MemoryError()])
def test_whatever_a_decoder_raises_names_the_picture(monkeypatch, error):
    def raising(*_, **__):
        raise error

    monkeypatch.setattr(Image, "open", raising)
    for read in (open_picture, read_rgb, read_alpha, read_size):
        with pytest.raises(InputError, match=r"^picture a/b\.jpg: (broken file \(|decoding it takes more).*remove it$"):
            read(encoded(picture(), "JPEG", progressive=True), "a/b.jpg")
