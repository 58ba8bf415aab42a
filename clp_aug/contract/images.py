"""READ one picture: decode safely, turn upright, make RGB, resize and crop. Both tools read through here."""

from __future__ import annotations

import base64
import io
import math
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from clp_aug.contract.boxes import Box
from clp_aug.contract.errors import InputError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
MAX_PIXELS = 89_478_485  # Pillow's own warning level: 256 MiB of RGB
PNG_SIDE = 64  # on a page, pictures up to this side are shown enlarged, so every pixel counts; larger ones are JPEG
JPEG_QUALITY = 90


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
        """crop: the largest centred square of the picture; stretch: all of it, whatever its shape."""
        if fit == "stretch":
            return cls(0, 0, width, height, size)
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
    """Decode the bytes of one picture file, upright by its EXIF tag, in its own mode.

    where: the file's name, for messages. Raises InputError for an empty, foreign, truncated, absurdly large or
    broken file.
    """
    if not data:
        raise InputError(f"picture {where}: the file is empty (0 bytes); replace it or remove it")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(data), formats=FORMATS)
        picture.load()
        return ImageOps.exif_transpose(picture)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise InputError(f"picture {where}: more than {MAX_PIXELS:,} pixels; shrink it or remove it") from None
    except Image.UnidentifiedImageError:
        raise InputError(f"picture {where}: not a {', '.join(FORMATS)} file; convert it or remove it") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise InputError(f"picture {where}: broken file ({error}); replace it or remove it") from None


def to_rgb(picture: Image.Image, where: str) -> Image.Image:
    """Return the picture as 8-bit RGB: grey is repeated, transparency lies on white, 16 bits become 8."""
    mode = picture.mode
    if mode == "RGB":
        return picture
    if mode.startswith("I"):  # 16-bit grey, which some versions deliver as 32-bit integers
        return Image.fromarray((np.asarray(picture).astype(np.float64) / 257).round().astype(np.uint8)).convert("RGB")
    if mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    if mode in ("1", "L", "P", "CMYK", "YCbCr", "LAB", "HSV"):
        return picture.convert("RGB")
    raise InputError(f"picture {where}: colour mode {mode} is not supported; save it as 8-bit RGB")


def read_rgb(data: bytes, where: str, size: int | None = None, fit: str = "crop") -> np.ndarray:
    """Decode to uint8 (H, W, 3) RGB; with `size`, through the fixed resize and crop to (size, size, 3)."""
    picture = to_rgb(open_picture(data, where), where)
    if size is not None:
        picture = Geometry.of(*picture.size, size, fit).apply(picture)
    return np.asarray(picture)


def read_alpha(data: bytes, where: str, size: int | None = None, fit: str = "crop") -> np.ndarray:
    """Decode a mask or soft alpha to float32 (H, W) in [0, 1], resized as alpha, never as a binary mask.

    The alpha channel counts where there is one that says something, otherwise brightness: many programs save a mask
    with an opaque one. A mask of {0, 1} values reads as {0, 1}.
    """
    picture = open_picture(data, where)
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        whole = picture.convert("RGBA")
        opacity = whole.getchannel("A")
        picture = opacity if opacity.getextrema() != (255, 255) else whole.convert("RGB")
    values = np.asarray(picture if picture.mode.startswith("I") else picture.convert("L"), np.float32)
    top = 65535.0 if picture.mode.startswith("I") else 1.0 if values.max(initial=0) <= 1 else 255.0
    alpha: np.ndarray = values / top
    return alpha if size is None else resize_alpha(alpha, size, fit)


def resize_alpha(alpha: np.ndarray, size: int, fit: str = "crop") -> np.ndarray:
    """Bring float32 (h, w) in [0, 1] through the fixed resize and crop: (size, size), still in [0, 1]."""
    height, width = alpha.shape
    resized = Geometry.of(width, height, size, fit).apply(Image.fromarray(np.ascontiguousarray(alpha, np.float32)))
    clipped: np.ndarray = np.clip(np.asarray(resized), 0, 1)
    return clipped


def read_size(data: bytes, where: str) -> tuple[int, int]:
    """Return (width, height) of an upright picture from its header, without decoding its pixels."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
        turned = picture.getexif().get(0x0112, 1) in (5, 6, 7, 8)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        picture, turned = open_picture(data, where), False  # raises with the reason
    return picture.size[::-1] if turned else picture.size


def data_uri(picture: np.ndarray) -> str:
    """Encode uint8 (H, W[, 3]) as a data URI: lossless when small, JPEG at full colour resolution when large."""
    buffer = io.BytesIO()
    if max(picture.shape[:2]) <= PNG_SIDE:
        kind = "png"
        Image.fromarray(picture).save(buffer, "PNG")
    else:
        kind = "jpeg"
        Image.fromarray(picture).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
