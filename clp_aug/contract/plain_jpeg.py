"""The most usual picture file, read with less work: a JPEG of three colours, 8 bits deep, sequential, without a tag
that turns it. Its header is a few bytes; Pillow's own decoder does the rest, so the pixels are those of `Image.open`.

Files that are unusual, or that could be refused, are read in the normal way.
"""

from __future__ import annotations

from PIL import Image

START, SCAN, TABLES = b"\xff\xd8\xff", 0xDA, 0xDB
FRAMES = (0xC0, 0xC1)  # sequential; in a progressive JPEG the order of its bytes could matter
SKIPPED = (0xC4, 0xDD, 0xFE)  # Huffman tables, restarts, remarks
NAMED = {0xE0: 16, 0xEE: 14}  # JFIF's and Adobe's own segments -> the shortest that Pillow reads without complaint
FRAME_BYTES, TABLE_BYTES, MOST_TABLES = 17, 65, 4


def plain_size(data: bytes) -> tuple[int, int] | None:
    """Return (width, height) of such a JPEG, both > 0, from its header; None for all other files."""
    if not data.startswith(START):
        return None
    at, end, size = 2, len(data) - 4, None
    while at < end and data[at] == 0xFF:
        marker, body = data[at + 1], at + 4
        length = data[at + 2] << 8 | data[at + 3]
        at += 2 + length
        if marker in FRAMES:
            if size is not None or length != FRAME_BYTES or at > end or data[body] != 8 or data[body + 5] != 3:
                return None
            size = data[body + 3] << 8 | data[body + 4], data[body + 1] << 8 | data[body + 2]
        elif marker == TABLES:
            if (length - 2) % TABLE_BYTES or max(data[body:at:TABLE_BYTES], default=0) >= MOST_TABLES:
                return None
        elif marker == SCAN:
            return size if size is not None and min(size) > 0 and length >= 2 and at <= len(data) else None
        elif length < 2 or not (marker in SKIPPED or length >= NAMED.get(marker, 1 << 16)):
            return None
    return None


def decode_plain(data: bytes, most: int) -> Image.Image | None:
    """Decode such a JPEG of at most `most` pixels; None for all other files and for one that does not decode."""
    size = plain_size(data)
    if size is None or size[0] * size[1] > most:
        return None
    try:
        return Image.frombytes("RGB", size, data, "jpeg", "RGB", "")
    except Exception:  # the normal way says what is wrong with it
        return None
