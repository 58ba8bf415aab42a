"""A picture file without its metadata: only its pixels and their orientation are left."""

from __future__ import annotations

from collections.abc import Iterator

PNG = b"\x89PNG\r\n\x1a\n"
NEEDED = (b"IHDR", b"PLTE", b"IDAT", b"IEND", b"eXIf")
TRANSPARENCY = {0: (2, 2), 2: (6, 6), 3: (1, 256)}
"""Colour type of a PNG -> fewest and most bytes of tRNS; others have none. Readers ignore a tRNS of another size."""


def without_metadata(data: bytes) -> bytes | None:
    """Return a PNG file without its texts, its profiles and an invalid transparency; None for any other file.

    The metadata of a PNG may be damaged, or larger than a decoder accepts, while its pixels are whole.
    """
    if not data.startswith(PNG):
        return None
    parts, fewest, most = [PNG], 1, 0
    for kind, start, end in png_chunks(data):
        if kind == b"IHDR" and end - start == 13:
            fewest, most = TRANSPARENCY.get(data[start + 9], (1, 0))
        if kind in NEEDED or (kind == b"tRNS" and fewest <= end - start <= most):
            parts.append(data[start - 8 : end + 4])
    return b"".join(parts)


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield the chunks of a PNG file, kind and where its content starts and ends, up to where the file is cut."""
    start = len(PNG) + 8
    while (end := start + int.from_bytes(data[start - 8 : start - 4], "big")) + 4 <= len(data):
        yield data[start - 4 : start], start, end
        start = end + 12
