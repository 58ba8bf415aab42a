"""Blocks of a page that a script makes: each stands between two marks, and is made anew from recorded results."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

MARKS = "<!-- {name}: made by {maker} -->", "<!-- end of {name} -->"
Blocks = Mapping[str, Callable[[], list[str]]]
"""Name of a block -> what makes its lines."""


def with_blocks(text: str, blocks: Blocks, maker: str) -> str:
    """Return a text with its blocks as they are now. maker: the module that the marks name.

    Raises KeyError for a block that nobody makes.
    """
    begin, end = (re.escape(mark.replace("{maker}", maker)) for mark in MARKS)
    name = re.escape("{name}")
    pattern = begin.replace(name, r"(?P<name>\w+)", 1) + ".*?" + end.replace(name, "(?P=name)", 1)

    def made(found: re.Match[str]) -> str:
        first, last = (mark.format(name=found["name"], maker=maker) for mark in MARKS)
        return "\n".join([first, "", *blocks[found["name"]](), "", last])

    return re.sub(pattern, made, text, flags=re.DOTALL)
