"""What the tests of reading pictures build: files of every kind, tags of cameras, parts of a PNG put in by hand."""

import io
import struct
import zlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

Tag = tuple[int, int, int, bytes]
"""Number, type, count and value."""


def picture(mode: str = "RGB", size: tuple[int, int] = (30, 20), seed: int = 0) -> Image.Image:
    """Noise of (width, height) pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(pixels).convert(mode)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _directory(tags: Sequence[Tag], at: int, order: str) -> bytes:
    """One directory of tags that lies at an offset."""
    head, values = struct.pack(order + "H", len(tags)), b""
    for number, kind, count, value in sorted(tags):
        place = value.ljust(4, b"\0")
        if len(value) > 4:
            place = struct.pack(order + "I", at + 2 + 12 * len(tags) + 4 + len(values))
            values += value
        head += struct.pack(order + "HHI", number, kind, count) + place
    return head + struct.pack(order + "I", 0) + values


def exif(orientation: int = 1, more: Sequence[Tag] = (), gps: Sequence[Tag] = (), order: str = ">") -> bytes:
    """EXIF with an orientation, other tags and a directory of GPS tags; order: of bytes, ">" or "<"."""
    tags = [(0x0112, 3, 1, struct.pack(order + "H", orientation)), *more]
    if gps:
        behind = 8 + len(_directory([*tags, (0x8825, 4, 1, bytes(4))], 8, order))
        tags.append((0x8825, 4, 1, struct.pack(order + "I", behind)))
    head = (b"MM" if order == ">" else b"II") + struct.pack(order + "HI", 42, 8) + _directory(tags, 8, order)
    return b"Exif\0\0" + head + (_directory(gps, len(head), order) if gps else b"")


def chunk(kind: bytes, content: bytes) -> bytes:
    """One part of a PNG, with its checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def with_chunk(png: bytes, kind: bytes, content: bytes, before: bytes = b"IDAT") -> bytes:
    """A PNG with one more part before another."""
    at = png.index(before) - 4
    return png[:at] + chunk(kind, content) + png[at:]
