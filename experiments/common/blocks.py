"""Blocks of a page that a script makes: each stands between two marks, and is made anew from recorded results."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from clp_aug.common.files import written_beside

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


def is_stale(page: Path, blocks: Blocks, maker: str) -> bool:
    """Tell whether a page has other figures than the results."""
    text = page.read_text("utf-8")
    return with_blocks(text, blocks, maker) != text


def write_or_check(page: Path, blocks: Blocks, maker: str, description: str | None) -> None:
    """Be the command of a page: write its tables, or say by the exit code, with --check, that they are not there."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="Change nothing; exit code 1 where the page has others.")
    arguments = parser.parse_args()
    if not is_stale(page, blocks, maker):
        return
    if arguments.check:
        sys.exit(f"{page.name}: other figures than the results; python -m {maker} writes them")
    text = with_blocks(page.read_text("utf-8"), blocks, maker)
    with written_beside(page) as temporary:
        temporary.write_text(text, "utf-8")
