"""Texts that others wrote, such as names of classes and files, where people read them: on terminals, in Markdown."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

JOINERS = "\u200c\u200d"  # they print nothing, but Persian, Indian scripts and emoji are spelt with them
TAG = re.compile(r"<(?=[A-Za-z/!?])")


def printable(text: str) -> str:
    """Return one line without line breaks, terminal codes and other characters that do not print.

    Each of those becomes the replacement character, and the length stays. Blanks of any width are kept.
    """
    return "".join(c if is_printable(c) else "\N{REPLACEMENT CHARACTER}" for c in text)


def is_printable(character: str) -> bool:
    """Whether a terminal shows a character and does nothing else with it."""
    return character.isprintable() or character in JOINERS or unicodedata.category(character) == "Zs"


def in_markdown(text: str) -> str:
    """Return one line that Markdown shows as it is within a table or a title: no column, no tag begins in it."""
    return TAG.sub("&lt;", printable(text)).replace("|", "\\|")


def code_in_markdown(text: str) -> str:
    """Return one line as code of Markdown, between more accents than it has in a row itself."""
    text = printable(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    blank = " " if len(fence) > 1 else ""
    return f"{fence}{blank}{text}{blank}{fence}"


def plain_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table for a terminal: each column as wide as its widest cell, two blanks between two."""
    cells = [tuple(map(printable, row)) for row in (heads, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]


def table_in_markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table of Markdown. The cells of rows are Markdown already."""
    lines = [f"| {' | '.join(row)} |" for row in (heads, *rows)]
    return [lines[0], "|---" * len(heads) + "|", *lines[1:]]
