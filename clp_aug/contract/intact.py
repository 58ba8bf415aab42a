"""Check whether `images.read_rgb` can read a picture file, with as little decoding as possible.

If the parts of a JPEG lead to its end marker, decoders reach its last row, whatever its scans hold. A PNG has a
checksum for each of its parts. Of these two only the first rows are decoded; all other files are decoded completely.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator

from clp_aug.contract.images import MAX_PIXELS, open_picture, to_rgb
from clp_aug.contract.metadata import PNG, png_chunks
from clp_aug.contract.plain_jpeg import decode_plain, plain_size

FIRST_ROWS = 16  # as many as the blocks of most JPEGs have
SMALL = 64 * 64  # pixels; to decode such a small picture completely takes less time than to cut it
FIRST_BYTES = 1 << 13  # of a scan of a JPEG; missing rows are filled in
TALLEST_JPEG = 65_500  # what libjpeg takes
FRAMES = (0xC0, 0xC1, 0xC2)  # of a JPEG that is sequential or progressive
TABLES = {0xC4, 0xDB, 0xDD, *range(0xE0, 0xF0), 0xFE}  # and segments of applications and comments
START_OF_SCAN, END = 0xDA, 0xD9
MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # in a scan: neither a value nor a restart


def check_picture(data: bytes, where: str) -> None:
    """Raise InputError, as `images.read_rgb` does, for a picture file that cannot be read.

    where: the file's name, for messages. One kind of broken file passes: a PNG whose pixels were wrong before its
    checksums were made.
    """
    width, height = plain_size(data) or (0, 0)
    if 0 < width * height <= SMALL and decode_plain(data, SMALL) is not None:
        return
    beginning = first_rows_of_jpeg(data) or first_rows_of_png(data)
    to_rgb(open_picture(beginning or data, where), where)


def first_rows_of_jpeg(data: bytes) -> bytes | None:
    """Return a JPEG cut to its first rows if its parts lead to its end; None for all others, and for small ones.

    The content of a scan does not matter: a decoder fills in what is missing, and skips what it does not need.
    """
    parts, height, width = [b"\xff\xd8"], 0, 0
    for marker, start, end in jpeg_parts(data):
        part = data[start:end]
        if marker == START_OF_SCAN:
            part = part[:FIRST_BYTES]
        elif marker in FRAMES:
            if height or len(part) < 10:
                return None
            height, width = struct.unpack(">HH", part[5:9])
            part = part[:5] + struct.pack(">H", FIRST_ROWS) + part[7:]
        elif marker not in (*TABLES, END):
            return None
        parts.append(part)
    if parts[-1] != b"\xff\xd9" or not _is_cut(height, width, TALLEST_JPEG):
        return None
    return b"".join(parts)


def jpeg_parts(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield the parts of a JPEG: marker, start and end; a scan with its values. Stops at the end, or at no part."""
    at = 2 if data.startswith(b"\xff\xd8") else len(data)
    while at + 2 <= len(data) and data[at] == 0xFF:
        start, marker, at = at, data[at + 1], at + 2
        if marker != END:
            at += int.from_bytes(data[at : at + 2], "big")
        if marker == START_OF_SCAN:
            following = MARKER.search(data, at)
            at = following.start() if following else len(data)
        yield marker, start, at
        if marker == END:
            return


def _is_cut(height: int, width: int, tallest: int = MAX_PIXELS) -> bool:
    """Return whether a picture has more than the first rows, and not more pixels than allowed."""
    return FIRST_ROWS < height <= min(MAX_PIXELS // max(width, 1), tallest)


def first_rows_of_png(data: bytes) -> bytes | None:
    """Return a PNG cut to its first rows if every checksum fits; None for all others, and for small ones."""
    if not data.startswith(PNG):
        return None
    kinds, view = [], memoryview(data)
    for kind, start, end in png_chunks(data):
        if zlib.crc32(view[start - 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            return None
        kinds.append(kind)
    if kinds[:1] + kinds[-1:] != [b"IHDR", b"IEND"] or b"IDAT" not in kinds or b"acTL" in kinds:
        return None
    if data[8:12] != b"\0\0\0\x0d" or data[28]:  # interlaced: rows are spread
        return None
    width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))
    if not _is_cut(height, width):
        return None
    header = data[12:20] + FIRST_ROWS.to_bytes(4, "big") + data[24:29]
    return data[:12] + header + zlib.crc32(header).to_bytes(4, "big") + data[33:]
