"""READ one picture: decode safely, turn upright, make RGB, resize and crop. Both tools read through here."""

from __future__ import annotations

import base64
import io
import logging
import math
import threading
import warnings
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

import numpy as np
from PIL import Image

from clp_aug.contract.boxes import Box
from clp_aug.contract.errors import InputError
from clp_aug.contract.metadata import PNG, without_metadata
from clp_aug.contract.plain_jpeg import decode_plain, plain_size

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "PPM")
"""The formats that Pillow may decode. Files may come from anywhere, so rare formats are not allowed."""
SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif",
    ".ppm", ".pgm", ".pbm", ".pnm",
)  # fmt: skip
NO_HANDLER = logging.NullHandler()
MAX_PIXELS = 89_478_485  # Pillow's own warning level: 256 MiB of RGB
PNG_SIDE = 64  # on a page, pictures up to this side are shown enlarged, so every pixel counts; larger ones are JPEG
JPEG_QUALITY = 90
COMPACT_QUALITY = 80  # of pages with hundreds of pictures
ORIENTATION = 0x0112  # the EXIF tag
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
"""Value of the EXIF tag -> what turns the picture upright."""
PNG_TAGS = (b"eXIf", b"Raw profile type", b"adobe.xmp")  # parts of a PNG that may hold its orientation
SIDEWAYS = [TURNS[value] for value in (5, 6, 7, 8)]
TRANSPARENT = ("RGBA", "LA", "PA", "RGBa", "La")
MODES = (*TRANSPARENT, "1", "L", "P", "RGB", "CMYK", "YCbCr", "LAB", "HSV", "RGBX")


@dataclass(frozen=True)
class Geometry:
    """The fixed resize and crop: the source window (left, top, width, height) becomes size x size pixels."""

    left: float
    top: float
    width: float
    height: float
    size: int

    @classmethod
    def of(cls, width: int, height: int, size: int, fit: str = "crop") -> Geometry:
        """Return the window of a picture. crop: its largest centred square; stretch: all of it, whatever its shape;
        stretch-crop: all of it is made a square of 256 pixels, and the middle 224 are kept; other sizes in the same
        ratio. Source of stretch-crop and its rounding: how Sagawa et al. (2020) read Waterbirds.
        """
        if fit == "stretch":
            return cls(0, 0, width, height, size)
        if fit == "stretch-crop":
            whole = size * 256 // 224
            start, share = round((whole - size) / 2) / whole, size / whole
            return cls(start * width, start * height, share * width, share * height, size)
        side = min(width, height)
        return cls((width - side) / 2, (height - side) / 2, side, side, size)

    def map_box(self, box: tuple[float, float, float, float]) -> Box | None:
        """Map a box of source pixels into the read picture: outwards to whole pixels, clipped; None if outside."""
        sx, sy = self.size / self.width, self.size / self.height
        x0 = max(0, math.floor((box[0] - self.left) * sx + 1e-9))
        y0 = max(0, math.floor((box[1] - self.top) * sy + 1e-9))
        x1 = min(self.size, math.ceil((box[2] - self.left) * sx - 1e-9))
        y1 = min(self.size, math.ceil((box[3] - self.top) * sy - 1e-9))
        return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None

    def apply(self, picture: Image.Image) -> Image.Image:
        """Resize and crop in one pass (bilinear, antialiased when shrinking); a no-op at the right size."""
        window = (self.left, self.top, self.left + self.width, self.top + self.height)
        if picture.size == (self.size, self.size) and window == (0, 0, self.size, self.size):
            return picture
        return picture.resize((self.size, self.size), Image.Resampling.BILINEAR, box=window)


def open_picture(data: bytes, where: str) -> Image.Image:
    """Decode the bytes of one picture file, upright by its EXIF tag, in its own mode; the first of several frames.

    where: the file's name, for messages. Metadata that cannot be read is ignored. Raises InputError for an empty,
    foreign, truncated, absurdly large or broken file.
    """
    plain = decode_plain(data, MAX_PIXELS)
    if plain is not None:
        return plain
    if not data:
        raise InputError(f"picture {where}: the file is empty (0 bytes); replace it or remove it")
    try:
        return _decode(data)
    except Exception as error:  # a decoder raises whatever it meets: struct.error, KeyError, RuntimeError ...
        reason = _refusal(error, where)
    bare = without_metadata(data)
    if bare is not None:
        with suppress(Exception):  # the first reason counts
            return _decode(bare)
    raise reason


def _decode(data: bytes) -> Image.Image:
    """Decode one picture and turn it upright; raises whatever the decoder does."""
    with SILENCE:
        picture: Image.Image = Image.open(io.BytesIO(data), formats=formats())
        _check_pixels(picture)
        picture.load()
        _check_pixels(picture)  # a first frame may reach beyond what the header says
        try:
            turn = _turn(picture)
        except Exception:  # tags hold whatever a camera wrote, or what a disk made of it
            turn = None
    if isinstance(alphas := picture.info.get("transparency"), bytes) and len(alphas) > 256:
        del picture.info["transparency"]  # no palette is so long: other readers ignore it, too
    return picture if turn is None else picture.transpose(turn)


def _turn(picture: Image.Image) -> Image.Transpose | None:
    """Return what turns a picture upright, by its EXIF tag or its XMP; None if it is upright. Raises whatever broken
    tags cause.

    The other tags stay as they are: `ImageOps.exif_transpose` writes all of them again and fails on those of many
    cameras.
    """
    return TURNS.get(picture.getexif().get(ORIENTATION, 1))


@cache
def formats() -> tuple[str, ...]:
    """Return those of FORMATS that this Pillow reads: AVIF came with version 11.3."""
    return tuple(name for name in FORMATS if name != "AVIF" or find_spec("PIL._avif") is not None)


def _check_pixels(picture: Image.Image) -> None:
    """Raise DecompressionBombError for a picture of more than MAX_PIXELS; Pillow itself does at twice as many."""
    if picture.width * picture.height > MAX_PIXELS:
        raise Image.DecompressionBombError


class Silence:
    """A context in which no decoder warns, because its warnings name no picture. Logs of Pillow go to existing
    handlers; if there are none, they do not go to stderr.

    The filter holds for all threads at once: the first thread that enters sets it, the last one that leaves restores
    the old one.
    """

    def __init__(self) -> None:
        self.lock, self.within, self.undone = threading.Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        with self.lock:
            self.within += 1
            if self.within == 1:
                self.undone.enter_context(warnings.catch_warnings())
                warnings.simplefilter("ignore")
                logging.getLogger("PIL").addHandler(NO_HANDLER)
                self.undone.callback(logging.getLogger("PIL").removeHandler, NO_HANDLER)

    def __exit__(self, *error: object) -> None:
        with self.lock:
            self.within -= 1
            if not self.within:
                self.undone.close()


SILENCE = Silence()


def _refusal(error: Exception, where: str) -> InputError:
    """Return the error that says in one line why a picture cannot be decoded, with the remedy."""
    if isinstance(error, Image.DecompressionBombError):
        return InputError(f"picture {where}: more than {MAX_PIXELS:,} pixels; shrink it or remove it")
    if isinstance(error, MemoryError):
        return InputError(f"picture {where}: decoding it takes more memory than is free; shrink it or remove it")
    if isinstance(error, Image.UnidentifiedImageError):
        return InputError(f"picture {where}: not a {', '.join(formats())} file; convert it or remove it")
    reason = " ".join(str(error).split()) or type(error).__name__
    return InputError(f"picture {where}: broken file ({reason}); replace it or remove it")


def to_rgb(picture: Image.Image, where: str) -> Image.Image:
    """Return the picture as 8-bit RGB: grey is repeated, transparency lies on white, 16 bits become 8.

    Raises InputError for a mode that pictures do not have, e.g. floating point, and for a picture that cannot be
    converted.
    """
    mode = picture.mode
    if mode == "RGB":
        return picture
    if mode.startswith("I"):  # 16-bit grey, which some versions deliver as 32-bit integers
        eight = (_sixteen_bits(picture, where).astype(np.float64) / 257).round().astype(np.uint8)
        return Image.fromarray(eight).convert("RGB")
    if mode in TRANSPARENT or "transparency" in picture.info:
        layer = converted(picture, "RGBA", where)
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return converted(picture, "RGB", where)


def converted(picture: Image.Image, mode: str, where: str) -> Image.Image:
    """Return the picture in another mode. Raises InputError for an unsupported mode and for a broken palette."""
    if picture.mode not in MODES:
        raise InputError(f"picture {where}: colour mode {picture.mode} is not supported; save it as 8-bit RGB")
    try:
        return picture.convert(mode)
    except Exception as error:
        raise _refusal(error, where) from None


def _sixteen_bits(picture: Image.Image, where: str) -> np.ndarray:
    """Return integer grey levels in 0..65535. Raises InputError for other levels: their white is unknown."""
    levels = np.asarray(picture)
    if levels.min(initial=0) < 0 or levels.max(initial=0) > 65535:
        raise InputError(
            f"picture {where}: grey levels {levels.min()}..{levels.max()}, expected 0..65535; save it as 8-bit RGB"
        )
    return levels


def read_rgb(data: bytes, where: str, size: int | None = None, fit: str = "crop") -> np.ndarray:
    """Decode to uint8 (H, W, 3) RGB; with `size`, through the fixed resize and crop to (size, size, 3)."""
    picture = to_rgb(open_picture(data, where), where)
    if size is not None:
        picture = Geometry.of(*picture.size, size, fit).apply(picture)
    return np.asarray(picture)


def read_alpha(data: bytes, where: str, size: int | None = None, fit: str = "crop") -> np.ndarray:
    """Decode a mask or soft alpha to float32 (H, W) in [0, 1], resized as alpha, never as a binary mask.

    The alpha channel counts if it is not opaque everywhere, otherwise brightness: many programs save masks with an
    opaque alpha channel. A mask of {0, 1} values reads as {0, 1}.
    """
    picture = open_picture(data, where)
    if picture.mode.startswith("I"):
        values, top = _sixteen_bits(picture, where).astype(np.float32), 65535.0
    else:
        values = np.asarray(_grey(picture, where), np.float32)
        top = 1.0 if values.max(initial=0) <= 1 else 255.0
    alpha: np.ndarray = values / np.float32(top)
    return alpha if size is None else resize_alpha(alpha, size, fit)


def _grey(picture: Image.Image, where: str) -> Image.Image:
    """Return a mask's alpha channel if it is not opaque everywhere, else its brightness, 8 bits. Raises like
    `to_rgb`.
    """
    if picture.mode in TRANSPARENT or "transparency" in picture.info:
        whole = converted(picture, "RGBA", where)
        opacity = whole.getchannel("A")
        picture = opacity if opacity.getextrema() != (255, 255) else whole.convert("RGB")
    return converted(to_rgb(picture, where) if picture.mode == "LAB" else picture, "L", where)


def resize_alpha(alpha: np.ndarray, size: int, fit: str = "crop") -> np.ndarray:
    """Bring float32 (h, w) in [0, 1] through the fixed resize and crop: (size, size), still in [0, 1]."""
    height, width = alpha.shape
    resized = Geometry.of(width, height, size, fit).apply(Image.fromarray(np.ascontiguousarray(alpha, np.float32)))
    clipped: np.ndarray = np.clip(np.asarray(resized), 0, 1)
    return clipped


def read_size(data: bytes, where: str) -> tuple[int, int]:
    """Return (width, height) of an upright picture, from its header where possible, without decoding its pixels."""
    plain = plain_size(data)
    if plain is not None and plain[0] * plain[1] <= MAX_PIXELS:
        return plain
    with suppress(Exception), SILENCE:
        picture = Image.open(io.BytesIO(data), formats=formats())
        # Pillow itself turns a TIFF, at a time that depends on its version; of a PNG's tags the last one counts
        if picture.format != "TIFF" and data.count(b"eXIf") < 2:
            return picture.size[::-1] if _turn(picture) in SIDEWAYS else picture.size
    return open_picture(data, where).size


def read_untagged_size(data: bytes) -> tuple[int, int] | None:
    """Return (width, height) of a PNG without tags that could turn it, from its header; None for all other files.

    `read_size` would decode its pixels, because tags may follow them; this function does not check the pixels.
    """
    if data.startswith(PNG) and not any(tag in data for tag in PNG_TAGS):
        with suppress(Exception), SILENCE:
            return Image.open(io.BytesIO(data), formats=formats()).size
    return None


def read_turn(data: bytes) -> Image.Transpose | None:
    """Return what turns the stored pixels of a picture upright, by its EXIF tag; None if it is upright."""
    if plain_size(data) is not None:
        return None
    with suppress(Exception), SILENCE:
        return _turn(Image.open(io.BytesIO(data), formats=formats()))
    return None


def data_uri(picture: np.ndarray, compact: bool = False) -> str:
    """Encode uint8 (H, W[, 3]) as a data URI: lossless when small, JPEG at full colour resolution when large.

    compact: the JPEG has a lower quality and half the colour resolution, and takes half as many bytes.
    """
    buffer = io.BytesIO()
    if max(picture.shape[:2]) <= PNG_SIDE:
        kind = "png"
        Image.fromarray(picture).save(buffer, "PNG")
    else:
        kind = "jpeg"
        quality, subsampling = (COMPACT_QUALITY, 2) if compact else (JPEG_QUALITY, 0)
        Image.fromarray(picture).save(buffer, "JPEG", quality=quality, subsampling=subsampling, optimize=compact)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
