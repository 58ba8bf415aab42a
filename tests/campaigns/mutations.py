"""How good inputs become bad ones: bytes, texts and JSON are changed in ways that a seed decides."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence
from typing import Any

Draw = random.Random
Mutation = Callable[[bytes, Sequence[bytes], Draw], bytes]
"""(a good input, all good inputs, a generator) -> another input."""

MOST = 6  # changes of one input
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 1 << 31, (1 << 31) - 1, (1 << 32) - 1, (1 << 63) - 1)
NUMBERS = (
    "-1", "0", "1e400", "-1e400", "nan", "inf", "1_000", "0x10", "1e-400", "3.5", "99999999999999999999", "9" * 5000,
    "١", "²", "1 2", "+1", "-0", "0.1", "true", "1e3", "16777217", "'1'",
)  # fmt: skip
STRINGS = (
    "", " ", "\0", "\r", "\n", "\t", "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "[red]cat", "cup [/mug]", ":smile:", "|",
    "<b>", "</script>", "&amp;", "{{ 7 * 7 }}", "{x}", "%s", "..", "../../x", "/etc/passwd", "~", "C:\\x", "a" * 300,
    "é", "e\u0301", "\u202e", "\ufeff", "\u2028", "\U0001f600", "日本", "\ud800", "\\ud800", "none", "null", "None",
    "__proto__", "x" * 5000, "[" * 2000, "{" * 2000, '"', "'", '"""', "#", ",", ";", "=", "a=b", "-", "--out", "train",
    "masks", "\x7f",
)  # fmt: skip
TOKEN = re.compile(r"\w+|\W")


def bytes_changed(good: bytes, seeds: Sequence[bytes], draw: Draw) -> bytes:
    """Change bytes: bits, values, lengths, order, and parts of another input."""
    data = bytearray(good)
    for _ in range(draw.choice((1, 1, 1, 2, 3, MOST))):
        draw.choice(CHANGES)(data, seeds, draw)
    return bytes(data)


def place(data: bytearray, draw: Draw, size: int = 1) -> int:
    """Return where a change goes: anywhere, or, as often, near the start or the end, where headers are."""
    top = max(1, len(data) - size + 1)
    near = min(top, 256)
    return draw.choice((draw.randrange(top), draw.randrange(near), top - 1 - draw.randrange(near)))


def flip(data: bytearray, seeds: Sequence[bytes], draw: Draw) -> None:
    """Flip a few bits."""
    for _ in range(draw.choice((1, 1, 2, 8)) if data else 0):
        data[place(data, draw)] ^= 1 << draw.randrange(8)


def set_number(data: bytearray, seeds: Sequence[bytes], draw: Draw) -> None:
    """Put an extreme whole number somewhere."""
    size = draw.choice((1, 2, 4, 8))
    value = draw.choice(EXTREMES) & ((1 << 8 * size) - 1)
    at = place(data, draw, size)
    data[at : at + size] = value.to_bytes(size, draw.choice(("little", "big")))


def cut(data: bytearray, seeds: Sequence[bytes], draw: Draw) -> None:
    """Cut the end off."""
    del data[place(data, draw) :]


def remove(data: bytearray, seeds: Sequence[bytes], draw: Draw) -> None:
    """Take a part out."""
    at = place(data, draw)
    del data[at : at + draw.choice((1, 2, 4, 16, 512))]


def insert(data: bytearray, seeds: Sequence[bytes], draw: Draw) -> None:
    """Put random bytes in."""
    at = place(data, draw)
    data[at:at] = draw.randbytes(draw.choice((1, 2, 4, 16, 512)))


def zero(data: bytearray, seeds: Sequence[bytes], draw: Draw) -> None:
    """Make a part zeros, as a lost sector is."""
    size = draw.choice((4, 16, 512, 4096))
    at = place(data, draw, size)
    data[at : at + size] = bytes(len(data[at : at + size]))


def repeat(data: bytearray, seeds: Sequence[bytes], draw: Draw) -> None:
    """Copy a part to another place."""
    size = draw.choice((1, 8, 64, 1024))
    at, to = place(data, draw, size), place(data, draw)
    data[to : to + draw.choice((0, size))] = data[at : at + size]


def splice(data: bytearray, seeds: Sequence[bytes], draw: Draw) -> None:
    """Go on with another good input from somewhere."""
    other = draw.choice(list(seeds))
    at = place(data, draw)
    data[at:] = other[draw.choice((at, draw.randrange(len(other) + 1))) :]


CHANGES = (flip, flip, flip, set_number, set_number, cut, remove, insert, zero, repeat, splice)


def text_changed(good: bytes, seeds: Sequence[bytes], draw: Draw) -> bytes:
    """Change words, numbers and lines of a text; now and then its bytes."""
    if draw.random() < 0.2:
        return bytes_changed(good, seeds, draw)
    text = good.decode("utf-8", "surrogateescape")
    for _ in range(draw.choice((1, 1, 2, MOST))):
        text = draw.choice((words_changed, words_changed, lines_changed))(text, draw)
    return text.encode("utf-8", "surrogatepass" if draw.random() < 0.3 else "ignore")


def words_changed(text: str, draw: Draw) -> str:
    """Replace, remove, repeat or swap a word."""
    words = TOKEN.findall(text) or [""]
    at = draw.randrange(len(words))
    kind = draw.randrange(6)
    if kind == 0:
        words[at] = draw.choice(NUMBERS)
    elif kind == 1:
        words[at] = draw.choice(STRINGS)
    elif kind == 2:
        words[at] += draw.choice(STRINGS)
    elif kind == 3:
        del words[at : at + draw.choice((1, 1, 4))]
    elif kind == 4:
        words[at:at] = words[at : at + draw.choice((1, 8, 64))]
    else:
        to = draw.randrange(len(words))
        words[at], words[to] = words[to], words[at]
    return "".join(words)


def lines_changed(text: str, draw: Draw) -> str:
    """Remove, repeat, swap or add a line, or end lines otherwise."""
    lines = text.split("\n")
    at, to = draw.randrange(len(lines)), draw.randrange(len(lines))
    kind = draw.randrange(5)
    if kind == 0:
        del lines[at]
    elif kind == 1:
        lines.insert(to, lines[at])
    elif kind == 2:
        lines[at], lines[to] = lines[to], lines[at]
    elif kind == 3:
        lines.insert(at, draw.choice(STRINGS))
    return draw.choice(("\n", "\r\n", "\r") if kind == 4 else ("\n",)).join(lines)


def json_changed(good: bytes, seeds: Sequence[bytes], draw: Draw) -> bytes:
    """Change a JSON value somewhere inside; now and then its text."""
    if draw.random() < 0.25:
        return text_changed(good, seeds, draw)
    value = json.loads(good)
    for _ in range(draw.choice((1, 1, 2, MOST))):
        value = inside_changed(value, draw)
    return json.dumps(value, ensure_ascii=draw.random() < 0.5).encode("utf-8", "surrogatepass")


def inside_changed(value: Any, draw: Draw) -> Any:
    """Return a JSON value with a change at a random depth."""
    if isinstance(value, dict) and value and draw.random() < 0.85:
        key = draw.choice(list(value))
        kind = draw.random()
        if kind < 0.1:
            return {k: v for k, v in value.items() if k != key}
        if kind < 0.2:
            return {**value, draw.choice(STRINGS): value[key]}
        return {**value, key: inside_changed(value[key], draw)}
    if isinstance(value, list) and value and draw.random() < 0.85:
        at = draw.randrange(len(value))
        kind = draw.random()
        if kind < 0.1:
            return [*value[:at], *value[at + 1 :]]
        if kind < 0.2:
            return [*value, value[at]]
        return [*value[:at], inside_changed(value[at], draw), *value[at + 1 :]]
    return strange_value(value, draw)


def strange_value(value: Any, draw: Draw) -> Any:
    """Return another JSON value in place of one."""
    nested: Any = value
    for _ in range(draw.choice((1, 1, 1, 200))):
        nested = draw.choice(([nested], {"x": nested}))
    return draw.choice(
        (
            None, True, False, 0, -1, 1.5, 10**30, 1e308, float("nan"), float("inf"), [], {}, nested, str(value),
            [value] * 3, draw.choice(STRINGS), draw.choice(STRINGS), draw.choice(NUMBERS),
        )
    )  # fmt: skip
